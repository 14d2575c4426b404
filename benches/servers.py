#!/usr/bin/env python3
"""Databases on servers: a pull beside the server's own client, and a night of changes beside a script of statements.

    export CARGO_PROFILE_DEV_OPT_LEVEL=3 CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false
    CARGO_PROFILE_DEV_CODEGEN_UNITS=16 cargo build
    python3 benches/servers.py target/debug/tieout [--rows 1000000] [--changed 100000] [--runs 5] [--only postgresql,mariadb]

Starts PostgreSQL and MariaDB in throw-away folders on free ports, with the settings that Debian's packages come with; where one is not
installed it says so and leaves it out. Needs nothing but Python, and as root runs the servers as nobody.

- `pull`: a table of ten columns. tieout: `check --connect`, which starts, reads the whole table into typed columns and shows its first
  rows. Beside it `psql` with `\\copy` to a file, and `mariadb --quick` into a file. Contestants take turns.
- `changes`: some of the rows of a CSV file differ from the table. tieout: a whole run, which pulls both, compares, writes to the server in
  one transaction, each row only if it still holds what was pulled, reads everything back and reports. Beside it the client with one
  UPDATE for each of these rows, in one transaction: what a script would do that compares and proves nothing.

Figures are medians in seconds. A ratio is tieout's figure by that of the client.
"""

import argparse
import glob
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

COLUMNS = ["id", "number", "name", "email", "city", "amount", "pieces", "day", "active", "note"]
TYPES = {"id": "integer", "amount": "decimal(2)", "pieces": "integer", "day": "date", "active": "boolean"}


def program(name):
    """Where a program is; PostgreSQL's are kept out of the way by Debian."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True) + os.environ["PATH"].split(":") + ["/usr/sbin"]
    return next((str(path) for folder in folders if (path := pathlib.Path(folder, name)).exists()), None)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server of its own. What differs between the two is in the classes below."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.user = {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}
        if self.user:
            shutil.chown(folder, "nobody", "nogroup")

    def make(self, command):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder, **self.user)

    def start(self, command):
        log = open(pathlib.Path(self.folder, "log"), "w")
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, cwd=self.folder, **self.user)
        for _ in range(150):
            time.sleep(0.2)
            if subprocess.run(self.client("select 1"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
                return
        sys.exit(f"the server did not start: {pathlib.Path(self.folder, 'log').read_text()[-2000:]}")

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def run(self, statement):
        subprocess.run(self.client(statement), check=True, stdout=subprocess.DEVNULL)


class PostgreSql(Server):
    needs, client_name = ["initdb", "postgres", "psql"], "psql"

    def begin(self):
        self.make([program("initdb"), "--username=keeper", "--auth=trust", "--encoding=UTF8", "--locale=C", "-D", f"{self.folder}/data"])
        self.start([program("postgres"), "-D", f"{self.folder}/data", "-p", str(self.port), "-h", "127.0.0.1", "-k", ""])

    def client(self, statement):
        return [program("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", "keeper", "-d", "postgres", "-c", statement]

    def script(self, file):
        return [*self.client("")[:-2], "-f", str(file)], {}

    def url(self):
        return f"postgres://keeper@127.0.0.1:{self.port}/postgres"

    def load(self, file):
        self.run("create table records (id bigint primary key, number varchar(20), name text, email text, city text, amount numeric(12,2), "
                 "pieces int, day date, active boolean, note text)")
        self.run(f"\\copy records from '{file}' csv header")
        self.run("vacuum analyze records")

    def pull(self, file):
        return self.client(f"\\copy records to '{file}' csv header"), None


class MariaDb(Server):
    needs, client_name = ["mariadb-install-db", "mariadbd", "mariadb"], "mariadb --quick"

    def begin(self):
        self.make([program("mariadb-install-db"), "--no-defaults", "--auth-root-authentication-method=normal", f"--datadir={self.folder}/data"])
        self.start([program("mariadbd"), "--no-defaults", f"--datadir={self.folder}/data", f"--socket={self.folder}/socket", f"--port={self.port}",
                    "--bind-address=127.0.0.1", "--character-set-server=utf8mb4", "--local-infile=1"])
        self.run("create database books")

    def client(self, statement, database=()):
        return [program("mariadb"), "--no-defaults", "-h", "127.0.0.1", "-P", str(self.port), "-u", "root", "--local-infile=1",
                "--default-character-set=utf8mb4", *database, "-e", statement]

    def script(self, file):
        return self.client("", ["books"])[:-2], {"stdin": file}

    def url(self):
        return f"mysql://root@127.0.0.1:{self.port}/books"

    def load(self, file):
        self.run("create table books.records (id bigint primary key, number varchar(20), name text, email text, city text, amount decimal(12,2), "
                 "pieces int, day date, active boolean, note text)")
        self.run(f"load data local infile '{file}' into table books.records fields terminated by ',' ignore 1 lines "
                 "(id, number, name, email, city, amount, pieces, day, @active, note) set active = @active = 'true'")
        self.run("analyze table books.records")

    def pull(self, file):
        return [*self.client("select * from records", ["books"]), "--batch", "--quick"], file


def record(number, note=""):
    day = f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}"
    amount = f"{number * 7919 % 10_000_000 / 100:.2f}"
    truth = "true" if number % 3 else "false"
    return (f"{number},R{number:09},Customer {number * 31 % 900_001},c{number}@example.com,City {number % 5000},{amount},{number % 9000},"
            f"{day},{truth},note {number * 13 % 100_000} on this record{note}")


def write(file, rows, changed=0):
    with open(file, "w") as out:
        out.write(",".join(COLUMNS) + "\n")
        out.writelines(record(number, " was seen again" if number <= changed else "") + "\n" for number in range(1, rows + 1))


def job(name, url, file, decides):
    """A job between a file and the table, of which one decides. Only the table is ever written."""
    sheet, books = ("source", "target") if decides == "sheet" else ("witness", "source")
    fields = "".join(
        f'[fields.{column}]\ntype = "{TYPES.get(column, "text")}"\ncolumns = {{ sheet = "{column}", books = "{column}" }}\n' + ("" if column == "id" else f'owner = "{decides}"\n')
        for column in COLUMNS
    )
    return (f'name = "{name}"\nkey = ["id"]\n[systems.sheet]\nkind = "csv"\nrole = "{sheet}"\npath = "{file}"\n'
            f'[systems.books]\nkind = "sql"\nrole = "{books}"\nurl = "{url}"\ntable = "records"\n{fields}[gates]\nupdates = "off"\n')


def measured(command, out=None, stdin=None, good=(0,)):
    """Seconds on the clock."""
    with open(out or os.devnull, "w") as sink, open(stdin or os.devnull) as source:
        begun = time.perf_counter()
        done = subprocess.run(command, stdout=sink, stdin=source, stderr=subprocess.PIPE)
        seconds = time.perf_counter() - begun
    if done.returncode not in good:
        sys.exit(f"{' '.join(map(str, command))[:200]}\nended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    return seconds


def line(what, ours, name, theirs):
    ours, theirs = statistics.median(ours), statistics.median(theirs)
    print(f"{what:<28} tieout {ours:7.2f} s   {name:<16} {theirs:7.2f} s   ratio {ours / theirs:.2f}", flush=True)


def compare(title, server, tieout, folder, options):
    data = folder / "data"
    root = folder / "root"
    (root / "jobs").mkdir(parents=True)
    write(folder / "first.csv", options.rows)
    server.begin()
    server.load(folder / "first.csv")
    write(root / "one.csv", 1)
    (root / "jobs/pull.toml").write_text(job("pull", server.url(), "one.csv", "books"))
    (root / "jobs/changes.toml").write_text(job("changes", server.url(), "changes.csv", "sheet"))
    ours, theirs = [], []
    for turn in range(options.runs + 1):
        pulled = measured([tieout, "--root", root, "check", "pull", "--connect"])
        command, out = server.pull(data)
        copied = measured(command, out)
        # The first round warms up the server's memory.
        if turn:
            ours.append(pulled)
            theirs.append(copied)
    line(f"{title}, pull", ours, server.client_name, theirs)

    shutil.copy(folder / "first.csv", root / "changes.csv")
    measured([tieout, "--root", root, "run", "changes", "--first-contact"])
    quiet = measured([tieout, "--root", root, "run", "changes"])
    write(root / "changes.csv", options.rows, options.changed)
    night = measured([tieout, "--root", root, "run", "changes"])
    again = measured([tieout, "--root", root, "run", "changes"])
    statements = folder / "statements.sql"
    with open(statements, "w") as out:
        out.write("begin;\n")
        out.writelines(f"update records set note = 'another note {number}' where id = {number};\n" for number in range(1, options.changed + 1))
        out.write("commit;\n")
    command, given = server.script(statements)
    line(f"{title}, {options.changed:,} changes", [night], server.client_name.split()[0], [measured(command, **given)])
    print(f"{'':<28} a night without changes {quiet:.2f} s, and after the changes {again:.2f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tieout", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--changed", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="postgresql,mariadb")
    options = parser.parse_args()
    tieout = options.tieout.resolve()
    print(f"{options.rows:,} rows of {len(COLUMNS)} columns, median of {options.runs}", flush=True)
    for title, kind in [("PostgreSQL", PostgreSql), ("MariaDB", MariaDb)]:
        if title.lower() not in options.only.split(","):
            continue
        missing = [name for name in kind.needs if not program(name)]
        if missing:
            print(f"{title} is left out: {', '.join(missing)} not found")
            continue
        with tempfile.TemporaryDirectory() as files, tempfile.TemporaryDirectory() as folder:
            server = kind(folder)
            try:
                compare(title, server, tieout, pathlib.Path(files), options)
            finally:
                if hasattr(server, "process"):
                    server.stop()


if __name__ == "__main__":
    main()
