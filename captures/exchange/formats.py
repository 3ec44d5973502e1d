"""Which formats there are, and which one a file is in. Pure."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import BinaryIO, NamedTuple

from captures.exchange import accesslog, artillery, attack, curl, goreplay, har, jsonlines, k6, locust, table, vegeta
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions, WriteOptions
from captures.records import Record

Reader = Callable[[BinaryIO, ReadOptions, Notes], Iterator[Record]]
Writer = Callable[[Iterable[Record], BinaryIO, WriteOptions, Notes], None]


def _elsewhere(*_: object) -> Iterator[Record]:
    """Stand for what only mitmproxy itself can read and write: whoever may import it puts that in its place."""
    raise NotImplementedError("the caller has to bring this format's reader and writer")


class Format(NamedTuple):
    """A format, and what can be done with it."""

    name: str
    title: str
    read: Reader | None
    write: Writer | None
    timed: bool = True
    """Its requests have times."""
    suffixes: tuple[str, ...] = ()
    looks_like: Callable[[bytes], bool] = lambda _: False
    aimed: bool = False
    """What is written names where requests go, so that this may be another place."""


def _like_flows(start: bytes) -> bool:
    return bool(re.match(rb"\d{2,12}:\d{1,2}:[a-z_]{1,30}[;,]", start))


FORMATS = {
    one.name: one
    for one in (
        Format("har", "HAR 1.2", har.read, har.write, suffixes=(".har",), looks_like=har.looks_like),
        Format(
            "jsonl",
            "JSON lines",
            jsonlines.read,
            jsonlines.write,
            suffixes=(".jsonl", ".ndjson"),
            looks_like=jsonlines.looks_like,
        ),
        Format(
            "vegeta",
            "vegeta targets",
            vegeta.read,
            vegeta.write,
            timed=False,
            suffixes=(".targets", ".vegeta"),
            looks_like=vegeta.looks_like,
            aimed=True,
        ),
        Format(
            "goreplay",
            "GoReplay",
            goreplay.read,
            goreplay.write,
            suffixes=(".gor",),
            looks_like=goreplay.looks_like,
        ),
        Format(
            "mitmproxy",
            "mitmproxy flows",
            _elsewhere,
            _elsewhere,  # type: ignore[arg-type]
            suffixes=(".mitm", ".flow", ".flows"),
            looks_like=_like_flows,
        ),
        Format("k6", "k6 script", None, k6.write, aimed=True),
        Format("locust", "Locust file", None, locust.write, aimed=True),
        Format("artillery", "Artillery script", None, artillery.write, aimed=True),
        Format("vegeta-script", "shell script for vegeta", None, attack.write, aimed=True),
        Format("curl", "curl commands", curl.read, None, timed=False, suffixes=(".sh",), looks_like=curl.looks_like),
        Format("csv", "CSV of URLs and times", table.read, None, looks_like=table.looks_like),
        Format("log", "access log", accesslog.read, None, suffixes=(".log",), looks_like=accesslog.looks_like),
    )
}
"""By name, in the order in which a file is held against them."""


def readable() -> list[str]:
    """Names of the formats that can be imported."""
    return sorted(one.name for one in FORMATS.values() if one.read)


def writable() -> list[str]:
    """Names of the formats that can be exported."""
    return sorted(one.name for one in FORMATS.values() if one.write)


def guess(name: str, start: bytes) -> Format | None:
    """Tell a file's format by its first bytes, or if they fit none, by its name; None if that says nothing either."""
    for one in FORMATS.values():
        if one.read and one.looks_like(start):
            return one
    suffixes = PurePath(name.removesuffix(".gz").removesuffix(".zst")).suffixes[-1:]
    return next((one for one in FORMATS.values() if one.read and suffixes and suffixes[0] in one.suffixes), None)
