#!/usr/bin/env python3
"""tieout beside its peers, on the same files and the same machine: time on the clock and on processors, and peak memory.

    export CARGO_PROFILE_DEV_OPT_LEVEL=3 CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false
    CARGO_PROFILE_DEV_CODEGEN_UNITS=16 cargo build
    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install duckdb polars
    /tmp/peers/bin/python3 benches/peers.py target/debug/tieout [--rows 1000000] [--runs 5] [--only diff,night,start]

Installs nothing. A peer that is not there is named and left out: `duckdb` and `polars` are looked for in the Python that runs this script.
Two programs are built in the folder of the files: `generate.rs` with rustc, and with cargo a small one round the crate csv-diff, which
downloads that crate (`--no-download`: only if it is there already). 1,000,000 rows of ten columns take about 1.5 GB of disk.

What is compared:

- `diff`: two files of which B is A a day later, both in no order, 1 % changed, 0.5 % added, 0.5 % deleted. Everybody counts what was
  added, deleted and changed, and is wrong if it is not what the generator made; tieout and csv-diff also have the rows at hand.
- `night`: two systems with 1 % of the cells of three fields spelled otherwise. tieout does a whole run: read, clean, dedupe, compare
  with the bases, merge, write, read back, keep snapshots and bases, report. DuckDB does the part that a script would: read, clean three
  fields, dedupe, compare with two bases in Parquet and with each other, write the changes to a CSV file and the new bases. It writes
  nothing to a system, proves nothing, and keeps no snapshot, journal or report. `polars reads both` does nothing but that.
- `start`: `tieout --version`, and a run over a hundred records of which none changed.

Contestants have two threads each (`--threads`) and take turns, another one begins every round; but on a night with changes the peers
come first, because tieout writes one of the files. Figures are medians over the rounds. A ratio is tieout's figure by that of the peer:
0.5 is half of it. The time in which Python starts and loads a library is in the figures of DuckDB and Polars, and is shown by itself. Peak
memory is what the kernel counts for the process, pages of mapped files among it; below the size of this script (`true`) it cannot tell.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent

DUCKDB_DIFF = """
import json, sys, duckdb
threads, key, a, b = sys.argv[1:]
connection = duckdb.connect()
connection.execute(f"set threads = {threads}")
connection.execute("set enable_progress_bar = false")
read = lambda file: f"read_csv('{file}', all_varchar = true, header = true, delim = ',', quote = '\\"', escape = '\\"')"
columns = [name for name, *_ in connection.execute(f"describe select * from {read(a)}").fetchall()]
keys = key.split(",")
differs = " or ".join(f'a."{name}" is distinct from b."{name}"' for name in columns if name not in keys)
matches = " and ".join(f'a."{name}" = b."{name}"' for name in keys)
added, deleted, changed = connection.execute(f'''
    select count(*) filter (where a."{keys[0]}" is null), count(*) filter (where b."{keys[0]}" is null),
           count(*) filter (where a."{keys[0]}" is not null and b."{keys[0]}" is not null and ({differs}))
    from {read(a)} a full outer join {read(b)} b on {matches}''').fetchone()
print(json.dumps({"added": added, "deleted": deleted, "changed": changed}))
"""

POLARS_DIFF = """
import json, sys
import polars as pl
key, a, b = sys.argv[1:]
keys = key.split(",")
scan = lambda file: pl.scan_csv(file, infer_schema=False)
values = [name for name in scan(a).collect_schema().names() if name not in keys]
both = scan(a).with_columns(in_a=True).join(scan(b).with_columns(in_b=True), on=keys, how="full", suffix="_b")
differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name + "_b")) for name in values)
in_a, in_b = pl.col("in_a").is_not_null(), pl.col("in_b").is_not_null()
found = both.select(added=(~in_a).sum(), deleted=(~in_b).sum(), changed=(in_a & in_b & differs).sum()).collect(engine="streaming")
print(json.dumps(found.row(0, named=True)))
"""

DUCKDB_NIGHT = """
import os, sys, duckdb
threads, folder = sys.argv[1:]
os.makedirs(f"{folder}/duckdb", exist_ok=True)
connection = duckdb.connect()
connection.execute(f"set threads = {threads}")
connection.execute("set enable_progress_bar = false")
is_first = not os.path.exists(f"{folder}/duckdb/a.parquet")
cleaned = '''replace (regexp_replace(trim(name), '[ ]+', ' ', 'g') as name,
    split_part(email, '@', 1) || '@' || lower(split_part(email, '@', 2)) as email, upper(city) as city)'''
for system in "ab":
    file = f"read_csv('{folder}/data/{system}.csv', all_varchar = true, header = true, delim = ',', quote = '\\"', escape = '\\"')"
    connection.execute(f"create temp table {system} as select * {cleaned} from {file}")
    copies = connection.execute(f"select count(*) - count(distinct id) from {system}").fetchone()[0]
    if copies:
        connection.execute(f"create or replace temp table {system} as select * from {system} qualify row_number() over (partition by id) = 1")
columns = [name for name, *_ in connection.execute("describe a").fetchall() if name != "id"]
def changed(system):
    base = f"read_parquet('{folder}/duckdb/{system}.parquet')"
    differs = " or ".join(f"now.{name} is distinct from base.{name}" for name in columns)
    connection.execute(f'''create temp table changed_{system} as select coalesce(now.id, base.id) id
        from {system} now full outer join {base} base on now.id = base.id where now.id is null or base.id is null or {differs}''')
if not is_first:
    changed("a")
    changed("b")
differs = " or ".join(f"a.{name} is distinct from b.{name}" for name in columns)
connection.execute(f'''create temp table apart as select coalesce(a.id, b.id) id
    from a full outer join b on a.id = b.id where a.id is null or b.id is null or {differs}''')
wins = "apart" if is_first else "(select id from apart semi join changed_a using (id))"
connection.execute(f"create temp table changes as select a.* from a semi join {wins} using (id)")
connection.execute(f"copy changes to '{folder}/duckdb/changes.csv'")
connection.execute(f"copy a to '{folder}/duckdb/a.new'(format parquet)")
connection.execute(f"copy (select * from b anti join changes using (id) union all select * from changes) to '{folder}/duckdb/b.new' (format parquet)")
for system in "ab":
    os.replace(f"{folder}/duckdb/{system}.new", f"{folder}/duckdb/{system}.parquet")
print(connection.execute("select count(*) from changes").fetchone()[0])
"""

POLARS_READS = "import sys, polars; print([polars.read_csv(file, infer_schema=False).height for file in sys.argv[1:]])"

CSV_DIFF_CARGO = """[package]
name = "peer"
version = "0.0.0"
edition = "2021"

[dependencies]
csv-diff = "0.1.2"

[profile.release]
lto = "thin"

[workspace]
"""

CSV_DIFF_MAIN = """
use csv_diff::{csv::Csv, csv_diff::CsvByteDiffLocalBuilder, diff_row::DiffByteRecord};
use std::fs::File;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let keys: Vec<usize> = arguments[1].split(',').map(str::parse).collect::<Result<_, _>>()?;
    let open = |path: &str| File::open(path).map(Csv::with_reader_seek);
    let compare = CsvByteDiffLocalBuilder::new().primary_key_columns(keys).build()?;
    let (mut added, mut deleted, mut changed) = (0, 0, 0);
    for record in compare.diff(open(&arguments[2])?, open(&arguments[3])?)?.as_slice() {
        match record {
            DiffByteRecord::Add(_) => added += 1,
            DiffByteRecord::Delete(_) => deleted += 1,
            DiffByteRecord::Modify { .. } => changed += 1,
        }
    }
    println!("{{\\"added\\": {added}, \\"deleted\\": {deleted}, \\"changed\\": {changed}}}");
    Ok(())
}
"""


class Measured:
    """Medians of what a contestant took: wall seconds, processor seconds, peak megabytes."""

    def __init__(self, label, is_peer=True):
        self.label, self.is_peer, self.runs, self.wrong = label, is_peer, [], None

    def add(self, run):
        self.runs.append(run)

    def median(self, at):
        return statistics.median(run[at] for run in self.runs)


def measure(command, folder=None, good=(0,)):
    """Runs a child to its end: wall seconds, processor seconds, peak megabytes, and what it printed. Ends this script if the child fails."""
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as complaint:
        start = time.monotonic()
        child = subprocess.Popen([str(word) for word in command], cwd=folder, stdin=subprocess.DEVNULL, stdout=printed, stderr=complaint)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read().decode()
        if child.returncode not in good:
            complaint.seek(0)
            sys.exit(f"{command}: exit code {child.returncode}\n{text}{complaint.read().decode()}")
        return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text


def table(title, ours, peers, note=""):
    print(f"\n{title}")
    print(f"{'':<34}{'wall s':>9}{'cpu s':>9}{'MB':>8}   {'tieout:':>8}{'wall x':>8}{'cpu x':>8}{'MB x':>8}")
    for row in [ours, *peers] if ours else peers:
        if not row.runs:
            continue
        figures = [row.median(at) for at in range(3)]
        line = f"{row.label:<34}{figures[0]:>9.3f}{figures[1]:>9.3f}{figures[2]:>8.0f}"
        if ours and row.is_peer:
            line += f"   {'':>8}" + "".join(f"{ours.median(at) / figures[at]:>8.2f}" for at in range(3))
        print(line + (f"  WRONG: {row.wrong}" if row.wrong else ""))
    if note:
        print(note)
    sys.stdout.flush()


def take_turns(contestants, rounds):
    """Runs each contestant once a round; the next one begins each round."""
    for number in range(rounds):
        first = number % len(contestants)
        for run in contestants[first:] + contestants[:first]:
            run()


def has(module):
    return importlib.util.find_spec(module) is not None


def skipped(what, why):
    print(f"left out: {what}: {why}")
    sys.stdout.flush()


class Bench:
    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.binary = pathlib.Path(arguments.tieout).resolve()
        self.generator = folder / "generate"
        build = subprocess.run(["rustc", "-O", "--edition", "2024", "-o", self.generator, HERE / "generate.rs"], capture_output=True, text=True)
        if build.returncode:
            sys.exit(f"generate.rs cannot be built:\n{build.stderr}")

    def generate(self, into, *options):
        """By file what the generator says of it."""
        common = ["--rows", self.arguments.rows, "--seed", self.arguments.seed]
        told = measure([self.generator, into, *common, *options])[3]
        return [json.loads(line) for line in told.splitlines()]

    def python(self, program, *words):
        return [sys.executable, "-c", program, *words]

    def say_where(self):
        memory = next((line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal")), "0") if os.path.exists("/proc/meminfo") else "0"
        model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "") if os.path.exists("/proc/cpuinfo") else ""
        cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
        print(f"machine: {cores} cores {model}, {int(memory) / 2**20:.0f} GB, {platform.system()} {platform.release()}, load {load:.1f}")
        versions = [measure([self.binary, "--version"])[3].strip(), f"python {platform.python_version()}"]
        versions += [f"{module} {importlib.metadata.version(module)}" for module in ("duckdb", "polars") if has(module)]
        versions.append(measure(["rustc", "--version"])[3].strip())
        print("versions: " + ", ".join(versions))
        print(f"{self.arguments.rows:,} rows, shape {self.arguments.shape}, {self.arguments.threads} threads, median of {self.arguments.runs}")
        for module in ("duckdb", "polars"):
            if not has(module):
                skipped(module, f"`pip install {module}` for {sys.executable}")

    def csv_diff(self):
        """The program round csv-diff; nothing if it cannot be built."""
        project = self.folder / "csv-diff"
        (project / "src").mkdir(parents=True, exist_ok=True)
        (project / "Cargo.toml").write_text(CSV_DIFF_CARGO)
        (project / "src/main.rs").write_text(CSV_DIFF_MAIN)
        if not shutil.which("cargo"):
            return skipped("csv-diff", "there is no cargo")
        offline = ["--offline"] if self.arguments.no_download else []
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CARGO_PROFILE_", "CARGO_TARGET_DIR", "CARGO_BUILD_"))}
        build = subprocess.run(["cargo", "build", "--release", *offline], cwd=project, env=environment, capture_output=True, text=True)
        if build.returncode:
            return skipped("csv-diff", f"it cannot be built: {build.stderr.strip().splitlines()[-1]}")
        lock = (project / "Cargo.lock").read_text().split('name = "csv-diff"\nversion = "')[1].split('"')[0]
        print(f"csv-diff {lock}, built with --release and thin LTO")
        return project / "target/release/peer"

    def start_of_python(self):
        rows = []
        for module in ("duckdb", "polars"):
            if has(module):
                rows.append(Measured(f"python loads {module}", False))
                for _ in range(3):
                    rows[-1].add(measure(self.python(f"import {module}")))
        return rows

    def diff(self):
        folder = self.folder / "diff"
        shape = ["--shape", self.arguments.shape, "--changed", 0.01, "--added", 0.005, "--deleted", 0.005, "--shuffled", "both"]
        _, made = self.generate(folder, *shape)
        expected = {what: made[what] for what in ("added", "deleted", "changed")}
        a, b = folder / "a.csv", folder / "b.csv"
        keys = ["company", "series", "document"] if self.arguments.shape == "three" else ["id"]
        key = ",".join(keys)

        contestants, ours = [], None

        def enter(label, command, counts, is_peer=True):
            row = Measured(label, is_peer)

            def run():
                *figures, printed = measure(command)
                row.add(figures)
                found = counts(json.loads(printed))
                if found != expected:
                    row.wrong = f"{found} instead of {expected}"

            contestants.append((row, run))
            return row

        def plain(found):
            return found

        probe = subprocess.run([self.binary, "diff", "--help"], capture_output=True)
        if probe.returncode == 0:
            ours = enter("tieout diff", [self.binary, "diff", a, b, "--key", key, "--limit", "100", "--json"], told_by_tieout, False)
            enter("tieout diff --every-value", [self.binary, "diff", a, b, "--key", key, "--limit", "100", "--json", "--every-value"], told_by_tieout, False)
        else:
            skipped("tieout diff", f"{self.binary} has no such command")
        if has("duckdb"):
            enter("DuckDB, full outer join", self.python(DUCKDB_DIFF, self.arguments.threads, key, a, b), plain)
        if has("polars"):
            enter("Polars, full join, streaming", self.python(POLARS_DIFF, key, a, b), plain)
        if program := self.csv_diff():
            enter("csv-diff", [program, ",".join(str(at) for at in range(len(keys))), a, b], plain)
        if not contestants:
            return
        take_turns([run for _, run in contestants], self.arguments.runs)
        size = sum(file.stat().st_size for file in (a, b)) / 1e6
        rows = [row for row, _ in contestants if row is not ours]
        note = f"to find: {expected['changed']:,} changed, {expected['added']:,} added, {expected['deleted']:,} deleted"
        table(f"diff: two files, {size:.0f} MB together, both in no order", ours, rows + self.start_of_python(), note)
        shutil.rmtree(folder)

    def night(self):
        folder = self.folder / "night"
        options = ["--job", "--changed", 0.01, "--dirty", 0.01]
        run_job = [self.binary, "run", "bench"]
        files = [folder / "data/a.csv", folder / "data/b.csv"]
        rows, ourselves = {}, "tieout run"

        def row(night, label):
            return rows.setdefault((night, label), Measured(label, label != ourselves))

        def once(night, label, command):
            *figures, printed = measure(command, folder)
            row(night, label).add(figures)
            return printed

        def others(night):
            if has("duckdb"):
                found = int(once(night, "DuckDB script", self.python(DUCKDB_NIGHT, self.arguments.threads, folder)))
                if found != wanted[night]:
                    row(night, "DuckDB script").wrong = f"{found} changes instead of {wanted[night]}"
            if has("polars"):
                once(night, "polars reads both", self.python(POLARS_READS, *files))

        def ours(night, *more):
            found = written_by_tieout(once(night, ourselves, [*run_job, *more]))
            if found != wanted[night]:
                row(night, ourselves).wrong = f"{found} changes instead of {wanted[night]}"

        nights = ("first contact", "1 % changed", "nothing changed")
        wanted = {"first contact": 0, "nothing changed": 0}
        def turn(number, night, *more):
            both = [lambda: others(night), lambda: ours(night, *more)]
            for run in reversed(both) if number % 2 == 0 and not wanted[night] else both:
                run()

        for number in range(1, self.arguments.runs + 1):
            # A fresh folder, so that every first contact is one.
            shutil.rmtree(folder, ignore_errors=True)
            self.generate(folder, *options)
            turn(number, nights[0], "--first-contact")
        for number in range(1, self.arguments.runs + 1):
            wanted[nights[1]] = self.generate(folder, *options, "--night", number)[0]["changed"]
            turn(number, nights[1])
            turn(number, nights[2])
        for night in nights:
            of_night = [measured for (of, _), measured in rows.items() if of == night]
            mine = next(measured for measured in of_night if not measured.is_peer)
            table(f"night, {night}", mine, [measured for measured in of_night if measured.is_peer])
        shutil.rmtree(folder)

    def start(self):
        folder = self.folder / "start"
        rows, self.arguments.rows = self.arguments.rows, 100
        self.generate(folder, "--job")
        self.arguments.rows = rows
        measure([self.binary, "run", "bench", "--first-contact"], folder)
        commands = [("true, for comparison", ["true"]), ("tieout --version", [self.binary, "--version"])]
        commands.append(("tieout run, a hundred records", [self.binary, "run", "bench"]))
        measured = [Measured(label) for label, _ in commands]
        turns = [lambda row=row, command=command: row.add(measure(command, folder)[:3]) for row, (_, command) in zip(measured, commands)]
        take_turns(turns, max(20, self.arguments.runs))
        print(f"\nstart-up, median of {len(measured[0].runs)}")
        print(f"{'':<34}{'wall ms':>9}{'cpu ms':>9}{'MB':>8}")
        for row in measured:
            print(f"{row.label:<34}{row.median(0) * 1000:>9.1f}{row.median(1) * 1000:>9.1f}{row.median(2):>8.0f}")
        sys.stdout.flush()
        shutil.rmtree(folder)


def told_by_tieout(document):
    """What `tieout diff --json` counted."""
    return {"added": document["added"], "deleted": document["removed"], "changed": document["changed"]}


def written_by_tieout(printed):
    """How many changes a run says that it made. Its document would tell more, but make this script, and with it every figure of memory, larger."""
    return int(re.search(r"changed\s+([\d,]+)\s+\(", printed)[1].replace(",", ""))


def main():
    parser = argparse.ArgumentParser(description="tieout beside its peers: times, processor times and peak memory.")
    parser.add_argument("tieout", help="the binary")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of everybody, as far as they ask (`RAYON_NUM_THREADS`, `POLARS_MAX_THREADS`, a setting of DuckDB)")
    parser.add_argument("--shape", default="ten", choices=["ten", "wide", "long", "three", "narrow"], help="of the files of `diff`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="diff,night,start", help="some of diff,night,start")
    parser.add_argument("--no-download", action="store_true", help="build csv-diff only from crates that are there already")
    parser.add_argument("--folder", help="where files are made; a temporary one if not given, which is removed")
    arguments = parser.parse_args()
    if not shutil.which("rustc"):
        sys.exit("rustc is not there: it builds the generator of the files")
    os.environ |= {"RAYON_NUM_THREADS": str(arguments.threads), "POLARS_MAX_THREADS": str(arguments.threads)}
    with tempfile.TemporaryDirectory(prefix="tieout-peers-", dir=arguments.folder) as name:
        bench = Bench(arguments, pathlib.Path(name))
        bench.say_where()
        for part in arguments.only.split(","):
            {"diff": bench.diff, "night": bench.night, "start": bench.start}[part]()


main()
