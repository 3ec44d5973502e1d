"""Whether other tools, running an incident's script, send its mix at its rates: counted by route and over time.

No figure here is a speed. What comes is held against the incident: all of each route, and each route in every window of
ten seconds. A busy machine makes a tool late, so the figures are better on a quiet one.
"""

import contextlib
import io
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from captures.records import Record
from captures.templates import template
from drill.incident import write_incident
from drill.story import Story
from reamp.cli import run as front_door
from tests.benchmarks.measuring import Bench
from tests.benchmarks.peers import find
from tests.benchmarks.tables import markdown
from tests.support import vegeta
from tests.support.loadsink import Request, Sink
from tests.support.recording import START_NS, record

PEERS = ("k6", "locust", "artillery")

SECONDS, QUICK_SECONDS, WINDOW = 60, 10, 10.0
BASE = 60.0
"""Requests per second before the burst, of all routes."""
ENOUGH = 20
"""Requests to a route in a window from which on a share of them says something."""

Route = tuple[str, str]

ROUTES: dict[Route, tuple[float, float]] = {
    ("GET", "/"): (0.22, 1.0),
    ("GET", "/product/{id}"): (0.30, 1.6),
    ("GET", "/search"): (0.14, 6.0),
    ("GET", "/category/shoes"): (0.10, 2.0),
    ("GET", "/cart"): (0.08, 1.0),
    ("POST", "/cart"): (0.06, 3.0),
    ("GET", "/static/app.js"): (0.05, 1.0),
    ("GET", "/api/stock/{id}"): (0.03, 8.0),
    ("GET", "/account"): (0.02, 0.3),
}
"""Of each its share before the burst, and by how much it grows in it."""

SUFFIXES = {"k6": "js", "locust": "py", "artillery": "js", "vegeta": "sh"}


def traffic(seconds: int) -> list[Record]:
    """An incident: a burst in its middle third, which is another one for each route. Arrivals scatter as by chance."""
    draw, made = random.Random(7), []
    for (method, path), (share, burst) in ROUTES.items():
        most = BASE * share * max(1.0, burst)
        at = draw.expovariate(most)
        while at < seconds:
            grown = burst if seconds / 3 <= at < seconds * 2 / 3 else 1.0
            if draw.random() < BASE * share * grown / most:
                concrete = path.replace("{id}", str(draw.randrange(1000, 9999)))
                made.append(record(at, concrete, method, body=b"a=1" if method == "POST" else b""))
            at += draw.expovariate(most)
    return sorted(made, key=lambda one: one.arrival_ns)


def run(bench: Bench) -> str:
    """Run each tool once; give the table."""
    seconds = QUICK_SECONDS if bench.quick else SECONDS
    records = traffic(seconds)
    path = bench.folder / "incident.reamp"
    story = Story(
        source="capture",
        told="made for this",
        begin_ns=START_NS,
        end_ns=START_NS + seconds * 10**9,
        times="kept",
        outcomes="records",
    )
    write_incident(path, story, records)
    right = [((one.arrival_ns - START_NS) / 1e9, (one.method, template(one.path))) for one in records]
    rows = []
    for tool in SUFFIXES:
        if tool != "vegeta" and find(tool) is None:
            continue
        bench.say(f"scripts: {tool}")
        rows.append([f"{tool}{_stand_in(tool)}", *_figures(right, _sent(tool, path, bench.folder), seconds)])
    head = ["tool", "requests", "all of a route, at worst", f"a route in {WINDOW:.0f} s, at worst", "in the mean"]
    told = (
        f"An incident of {seconds} s, {len(records):,} requests to {len(ROUTES)} routes, each with a burst of its own. "
        f"Off by, where a route has {ENOUGH} requests or more in a window."
    )
    return f"{told}\n\n{markdown(head, rows)}"


def _stand_in(tool: str) -> str:
    return " (a stand-in for it)" if tool == "vegeta" and find("vegeta") is None else ""


def _sent(tool: str, incident: Path, folder: Path) -> list[Request]:
    place = folder / tool
    place.mkdir()
    script = place / f"script.{SUFFIXES[tool]}"
    sink = Sink()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            if front_door(["export", tool, str(incident), "--target", sink.url, "-o", str(script)]):
                raise RuntimeError(f"no script for {tool}")
        done = subprocess.run(
            _command(tool, script, place),
            cwd=place,
            env={**os.environ, "PATH": f"{place}{os.pathsep}{os.environ.get('PATH', os.defpath)}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if done.returncode:
            raise RuntimeError(f"{tool}: {re.sub(r'\s+', ' ', done.stdout + done.stderr)[-500:]}")
        return sorted(sink.requests, key=lambda one: one.at)
    finally:
        sink.close()


def _command(tool: str, script: Path, place: Path) -> list[str]:
    if tool == "vegeta" and find("vegeta") is None:
        stand_in = place / "vegeta"
        stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} {vegeta.__file__} "$@"\n')
        stand_in.chmod(0o755)
    return {
        "k6": [find("k6") or "", "run", "--quiet", "--no-usage-report", str(script)],
        "locust": [find("locust") or "", "-f", str(script), "--headless", "--only-summary"],
        "artillery": [find("artillery") or "", "run", "--quiet", str(script)],
        "vegeta": ["bash", str(script)],
    }[tool]


def _figures(right: Sequence[tuple[float, Route]], sent: list[Request], seconds: int) -> list[str]:
    begun = sent[0].at
    came = [(one.at - begun, (one.method, template(one.path))) for one in sent]
    wanted, found = Counter(route for _, route in right), Counter(route for _, route in came)
    overall = max(abs(found[route] - count) / count for route, count in wanted.items())
    windows = []
    for number in range(round(seconds / WINDOW)):
        wanted, found = (
            Counter(route for at, route in each if number * WINDOW <= at < (number + 1) * WINDOW)
            for each in (right, came)
        )
        windows += [abs(found[route] - count) / count for route, count in wanted.items() if count >= ENOUGH]
    return [
        f"{len(sent):,} of {len(right):,}",
        f"{overall:.1%}",
        f"{max(windows):.1%}",
        f"{sum(windows) / len(windows):.1%}",
    ]
