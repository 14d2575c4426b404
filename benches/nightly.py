#!/usr/bin/env python3
"""A night over two CSV files, against reading both with Polars alone.

Makes two systems of ROWS records with ten columns, runs a first night (first contact), changes one per cent of the
records of the first system, and measures the second night. Prints times and peak memory as ratios of one run on one
machine. Needs Python with `polars` (`pip install polars`), and the binary: its path is the first argument.

    CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo build && python3 benches/nightly.py PATH/TO/tieout [ROWS] [RUNS]
"""

import os
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

JOB = """name = "bench"
key = ["id"]
{systems}
{fields}
"""
FIELDS = [("id", "text"), ("name", "text"), ("email", "text"), ("city", "text"), ("street", "text"),
          ("amount", "decimal(2)"), ("count", "integer"), ("day", "date"), ("active", "boolean"), ("note", "text")]
READ_BOTH = "import sys, polars; frames = [polars.read_csv(p, infer_schema=False) for p in sys.argv[1:]]; print([f.height for f in frames])"


def row(number: int, draw: random.Random) -> str:
    return (f"C{number:09d},Customer {draw.randrange(10**6)},c{number}@example.com,City {draw.randrange(5000)},"
            f"{draw.randrange(300)} Long Street,{draw.randrange(10**7) / 100:.2f},{draw.randrange(10**4)},"
            f"2026-{draw.randrange(1, 13):02d}-{draw.randrange(1, 29):02d},{draw.choice(('true', 'false'))},note {draw.randrange(10**8)}\n")


def make(folder: pathlib.Path, rows: int) -> None:
    (folder / "jobs").mkdir()
    (folder / "data").mkdir()
    systems = "\n".join(f'[systems.{s}]\nkind = "csv"\nrole = "peer"\npath = "data/{s}.csv"\n' for s in ("a", "b"))
    fields = "\n".join(
        f'[fields.{name}]\ntype = "{kind}"\ncolumns = {{ a = "{name}", b = "{name}" }}\nmerge = {{ priority = ["a", "b"] }}\n' for name, kind in FIELDS)
    (folder / "jobs/bench.toml").write_text(JOB.format(systems=systems, fields=fields))
    draw = random.Random(1)
    lines = [row(number, draw) for number in range(rows)]
    header = ",".join(name for name, _ in FIELDS) + "\n"
    (folder / "data/a.csv").write_text(header + "".join(lines))
    draw.shuffle(lines)
    (folder / "data/b.csv").write_text(header + "".join(lines))


def edit(folder: pathlib.Path, seed: int) -> None:
    """Changes one per cent of the records of the first system."""
    path = folder / "data/a.csv"
    lines = path.read_text().splitlines(keepends=True)
    draw = random.Random(seed)
    for at in draw.sample(range(1, len(lines)), max(1, len(lines) // 100)):
        cells = lines[at].split(",")
        cells[3] = f"Moved {draw.randrange(10**6)}"
        lines[at] = ",".join(cells)
    path.write_text("".join(lines))


def measure(command: list[str], folder: pathlib.Path) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak megabytes of a child."""
    start = time.monotonic()
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    if os.waitstatus_to_exitcode(status) not in (0,):
        sys.exit(f"{command}: {child.stderr.read().decode()}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make(folder, rows)
        first = measure([binary, "run", "bench", "--first-contact"], folder)
        nights, reads, quiet = [], [], []
        for number in range(runs):
            edit(folder, number)
            reads.append(measure([sys.executable, "-c", READ_BOTH, "data/a.csv", "data/b.csv"], folder))
            nights.append(measure([binary, "run", "bench"], folder))
            quiet.append(measure([binary, "run", "bench"], folder))
        median = lambda values, at: statistics.median(value[at] for value in values)
        print(f"{rows:,} rows x {len(FIELDS)} columns, 1 % changed, median of {runs}")
        print(f"{'':<28}{'wall s':>8}{'cpu s':>8}{'MB':>8}{'wall x':>8}{'cpu x':>8}{'MB x':>8}")
        reference = [median(reads, at) for at in range(3)]
        for label, values in (("polars reads both", reads), ("first contact", [first]), ("night, 1 % changed", nights), ("night, nothing changed", quiet)):
            wall, cpu, memory = (median(values, at) for at in range(3))
            print(f"{label:<28}{wall:>8.2f}{cpu:>8.2f}{memory:>8.0f}{wall / reference[0]:>8.2f}{cpu / reference[1]:>8.2f}{memory / reference[2]:>8.2f}")


main()
