#!/usr/bin/env python3
"""An HTTP API: whether a pull keeps the concurrency and the rate full that the job file allows.

    CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo build
    python3 benches/http.py target/debug/tieout [--pages 200] [--records 500] [--latency 0.05] [--runs 3]

An API on this machine answers every page after `latency` seconds, however many are asked for at once. tieout pulls all pages with
`run` of a job that compares the API with an empty file, without a first contact being approved: it reads, and writes nothing.

- `at_once`: the time by that of a caller that always has so many calls under way: pages by latency by `at_once`.
- `rate`: the calls of every second that the API saw, from the second one on but the last, by the rate of the job file.

Figures are medians. A ratio of 1.00 is a caller that loses nothing between its calls, and no time for what comes.
"""

import argparse
import asyncio
import json
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.parse

JOB = """name = "pull"
mode = "audit"
key = ["email"]

[systems.crm]
kind = "http"
role = "source"
base_url = "http://127.0.0.1:{port}"
id = "id"
list = {{ path = "/people", records = "$.items", page = {{ number = "page" }}, total = "$.total" }}
limits = {{ {limits} }}

[systems.list]
kind = "csv"
role = "witness"
path = "list.csv"

[fields.email]
type = "text"
columns = {{ crm = "email", list = "email" }}

[fields.name]
type = "text"
columns = {{ crm = "name", list = "name" }}
"""


class Api:
    """Answers pages late, and notes when each was asked for and how many at once."""

    def __init__(self, pages, records, latency):
        self.pages, self.latency, self.moments, self.now, self.most = pages, latency, [], 0, 0
        total = pages * records
        person = lambda number: {"id": str(number), "email": f"person{number}@example.com", "name": f"Person {number}", "city": "Bern"}
        self.bodies = [
            json.dumps({"total": total, "items": [person(page * records + place) for place in range(records)]}).encode() for page in range(pages)
        ]
        self.ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True).start()
        self.ready.wait()

    async def serve(self):
        server = await asyncio.start_server(self.converse, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        async with server:
            await server.serve_forever()

    async def converse(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.moments.append(time.monotonic())
                self.now += 1
                self.most = max(self.most, self.now)
                await asyncio.sleep(self.latency)
                self.now -= 1
                page = int(urllib.parse.parse_qs(head.split()[1].partition("?")[2])["page"][0])
                body = self.bodies[page - 1] if page <= self.pages else b'{"total": 0, "items": []}'
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def pulled(tieout, api, limits):
    """The seconds between the first call and the end of the last one."""
    with tempfile.TemporaryDirectory() as root:
        pathlib.Path(root, "jobs").mkdir()
        pathlib.Path(root, "jobs/pull.toml").write_text(JOB.format(port=api.port, limits=limits))
        pathlib.Path(root, "list.csv").write_text("email,name\nperson0@example.com,Person 0\n")
        api.moments, api.most = [], 0
        done = subprocess.run([tieout, "--root", root, "run", "pull", "--first-contact"], capture_output=True, text=True)
        if done.returncode not in (0, 1) or len(api.moments) != api.pages:
            raise SystemExit(f"the run ended with {done.returncode} after {len(api.moments)} calls:\n{done.stdout}{done.stderr}")
    return api.moments[-1] - api.moments[0] + api.latency


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tieout")
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--records", type=int, default=500)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    api = Api(options.pages, options.records, options.latency)
    print(f"{options.pages} pages of {options.records} records, each after {options.latency * 1000:.0f} ms, median of {options.runs}", flush=True)
    for at_once in (1, 4, 8, 16):
        seconds = statistics.median(pulled(options.tieout, api, f"at_once = {at_once}") for _ in range(options.runs))
        ideal = -(-options.pages // at_once) * options.latency
        print(f"at_once {at_once:3}   {seconds:6.2f} s   without a loss {ideal:6.2f} s   ratio {seconds / ideal:.2f}   at most {api.most} at once", flush=True)
    for rate, at_once in ((20, 4), (50, 8)):
        figures = []
        for _ in range(options.runs):
            pulled(options.tieout, api, f'rate = "{rate}/s", at_once = {at_once}')
            begun = api.moments[0]
            per_second = {}
            for moment in api.moments:
                per_second[int(moment - begun)] = per_second.get(int(moment - begun), 0) + 1
            whole = [per_second.get(second, 0) for second in range(1, max(per_second))]
            figures.append(statistics.mean(whole) if whole else 0)
        print(f"rate {rate:3}/s, at_once {at_once}   {statistics.median(figures):6.1f} calls a second   of the rate {statistics.median(figures) / rate:.2f}", flush=True)


if __name__ == "__main__":
    main()
