"""Where a capture came from that was made of others, and several captures as one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgpack

from captures.codec import MAX_HEADER
from captures.reader import Capture, Segment
from captures.records import Record

_NAMED = 20
"""Sources that are named in a header, which has little room."""

_ROOM = MAX_HEADER // 2
"""Bytes of a header for what was replaced in the sources."""

_MORE = "more"
"""In place of what was recorded: how many more there are that a header has no room for."""


def joined(captures: Sequence[Capture]) -> tuple[Capture, list[str]]:
    """Make one capture of several, and tell which segments were in more than one of them: they are in it once.

    Of two copies the one with more records stays: the other was taken while it was being written, or was cut off.
    The first capture becomes the whole one.
    """
    known: dict[tuple[str, int], Segment] = {}
    segments: list[Segment] = []
    twice: list[str] = []
    for segment in (segment for capture in captures for segment in capture.segments):
        if segment.header is None:
            segments.append(segment)
            continue
        key = (segment.header.writer, segment.header.sequence)
        before = known.setdefault(key, segment)
        if before is segment:
            segments.append(segment)
            continue
        better, worse = (segment, before) if segment.count > before.count else (before, segment)
        known[key] = better
        segments[segments.index(before)] = better
        if better.path.samefile(worse.path):
            twice.append(f"{worse.path} was named twice: it is taken once")
        else:
            twice.append(f"{worse.path} is left out: {better.path} is the same segment")
    whole = captures[0]
    whole.segments = segments
    return whole, twice


def overlapping(capture: Capture) -> list[Path]:
    """Name the segments that were made of others which are here too: their records may be here twice."""
    writers = {segment.header.writer for segment in capture.segments if segment.header is not None}
    return [segment.path for segment in capture.segments if writers & _made_of(segment)]


def _made_of(segment: Segment) -> set[str]:
    sources = segment.header.extra.get("from") if segment.header is not None else None
    if not isinstance(sources, list):
        return set()
    writers = [source.get("writer") for source in sources if isinstance(source, dict)]
    return {writer for writer in writers if isinstance(writer, str)}


def lineage(made_by: str, capture: Capture, selection: Mapping[str, Any]) -> dict[str, Any]:
    """Say for a header what a capture was made of: writers and their segments, and what was chosen of them."""
    sources: dict[str, list[int]] = {}
    for segment in capture.segments:
        if segment.header is not None:
            sources.setdefault(segment.header.writer, []).append(segment.header.sequence)
    named = [
        {"writer": writer, "segments": [min(numbers), max(numbers)]}
        for writer, numbers in list(sources.items())[:_NAMED]
    ]
    more = {"more_writers": len(sources) - _NAMED} if len(sources) > _NAMED else {}
    said = recorded(capture)
    kept = _fitting(said, _ROOM // 2)
    if len(kept) < len(said):
        kept.append({_MORE: len(said) - len(kept)})
    return {"made_by": made_by, "from": named, **more, **({"recorded": kept} if kept else {}), **selection}


def recorded(capture: Capture) -> list[dict[str, Any]]:
    """Tell what of the traffic was recorded: the different things that sidecars said of it."""
    said: list[dict[str, Any]] = []
    for segment in capture.segments:
        found = segment.header.extra.get("recorded") if segment.header is not None else None
        for one in found if isinstance(found, list) else [found]:
            if isinstance(one, dict) and one not in said:
                said.append(one)
    return said


def left_out(capture: Capture) -> list[str]:
    """Say in words what of the traffic was not recorded on purpose: nothing, if all of it was."""
    words = []
    for one in recorded(capture):
        sample, by = one.get("sample"), one.get("session_by")
        parts = [f"copies of {one['tap']} of the requests, at a tap"] if one.get("tap") else []
        parts += [f"{sample} of the sessions (by {by})"] if sample else []
        parts += [f"--{name} {one[name]}" for name in ("only", "except") if one.get(name)]
        if parts:
            words.append("recorded were only " + ", ".join(parts))
        if _MORE in one:
            words.append(f"what at least {one[_MORE]} more sidecars recorded is not told: there was no room for it")
    return list(dict.fromkeys(words))


def redaction(capture: Capture) -> dict[str, Any]:
    """Say for a header what was replaced: what all sources say, or each thing that one of them says.

    Of more than fits, the number is told.
    """
    said: list[dict[str, Any]] = []
    for segment in capture.segments:
        if segment.header is not None and segment.header.redaction not in said:
            said.append(segment.header.redaction)
    if len(said) == 1:
        return said[0]
    kept = _fitting(said, _ROOM)
    return {"several": kept} | ({"more": len(said) - len(kept)} if len(kept) < len(said) else {})


def _fitting(said: list[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    """Give the first of them, as many as have room in so many bytes."""
    sizes = accumulate(len(msgpack.packb(one)) for one in said)
    return [one for one, size in zip(said, sizes, strict=True) if size <= room]


class Unique:
    """Lets equal records pass once. Of one moment at most 10,000 different ones are remembered."""

    def __init__(self) -> None:
        self.left_out = 0
        self._at = -1
        self._seen: set[Record] = set()

    def filter(self, records: Iterable[Record]) -> Iterator[Record]:
        """Give on each record, sorted by arrival, that was not there already."""
        for record in records:
            if record.arrival_ns != self._at:
                self._at = record.arrival_ns
                self._seen.clear()
            elif record in self._seen:
                self.left_out += 1
                continue
            if len(self._seen) < _REMEMBERED:
                self._seen.add(record)
            yield record


_REMEMBERED = 10_000
