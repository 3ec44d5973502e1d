"""What docs/capture-format.md says is so: its reader reads, its bounds are the code's."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

from captures import codec, columns
from captures.batch import BatchWriter
from captures.records import Record
from tests.captures import making
from tests.captures.making import NOON, record

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "capture-format.md").read_text()


def reader() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert isinstance(code, str)
    return code


def shown(raw: str | bytes) -> str:
    raw = raw.encode("utf-8", "surrogateescape") if isinstance(raw, str) else raw
    return raw.decode("utf-8", "backslashreplace")


def expected(one: Record) -> list[object]:
    texts = [shown(text) for text in (one.method, one.scheme, one.authority, one.http_version, one.path)]
    headers = [[shown(name), shown(value)] for name, value in one.headers]
    rest = [one.body_size, one.status, one.response_size, one.ttfb_ns, one.duration_ns]
    return [one.arrival_ns, *texts, headers, shown(one.body), *rest]


def various() -> list[Record]:
    dice = random.Random(3)
    made = [
        record(
            NOON + dice.randrange(10**12),
            method=dice.choice(["GET", "POST", "G\udcffT"]),
            path=f"/item/{dice.randrange(300)}",
            headers=tuple((b"h%d" % dice.randrange(5), b"%d" % dice.randrange(90)) for _ in range(dice.randrange(5))),
            body=(body := dice.randbytes(dice.choice([0, 0, 30]))),
            body_size=len(body) + dice.choice([0, 0, 7]),
            status=(status := dice.choice([0, 200, 200, 404])),
            response_size=dice.randrange(10**6),
            ttfb_ns=-1 if not status else dice.randrange(10**10),
            duration_ns=10**10 + dice.randrange(10**9),
        )
        for _ in range(900)
    ]
    return [*made, record(NOON, headers=()), record(NOON, path=b"/\xe9".decode("utf-8", "surrogateescape"))]


def test_the_reader_in_the_document_reads_what_the_writer_writes(tmp_path: Path) -> None:
    made = various()
    with BatchWriter(tmp_path / "captures") as batch:  # it redacts nothing
        for one in made:
            batch.write(one)
    (file,) = (tmp_path / "captures").glob("*.reamp")
    assert read(file, tmp_path) == list(map(expected, made))


@pytest.mark.parametrize("block", [[record()], [record(NOON + n, body=b"%d" % n, body_size=9) for n in range(700)]])
def test_it_reads_blocks_of_one_and_of_nothing_but_new_values(block: list[Record], tmp_path: Path) -> None:
    file = tmp_path / "one.reamp"
    file.write_bytes(b"".join(making.segment([block, block[:1]])))
    assert read(file, tmp_path) == list(map(expected, [*block, block[0]]))


def read(file: Path, folder: Path) -> list[object]:
    """Run the document's code, as it stands, over a segment."""
    script = folder / "reader.py"
    script.write_text(reader())
    command = [sys.executable, "-W", "ignore", str(script), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_it_is_as_short_as_the_document_says_and_needs_no_more_than_it_says() -> None:
    lines = [line for line in reader().splitlines() if line.strip()]
    assert len(lines) <= 40
    imported = re.findall(r"^import (.*)", reader(), re.MULTILINE)
    assert imported == ["itertools, json, sys", "msgpack, zstandard"]


def test_any_msgpack_library_can_walk_a_segment(tmp_path: Path) -> None:
    """Only msgpack, nothing of ours: this is what the format promises."""
    blocks = [[record(NOON + 5), record(NOON + 3)], [record(NOON + 9, body=b"x", body_size=1)]]
    file = tmp_path / "one.reamp"
    file.write_bytes(b"".join(making.segment(blocks)))
    with file.open("rb") as stream:
        header, *frames, footer, footer_offset = msgpack.Unpacker(stream)
    assert (header["format"], header["version"]) == ("reamp-capture", codec.VERSION)
    assert [frame[:4] for frame in frames] == [[NOON + 3, NOON + 5, 2, "zcol"], [NOON + 9, NOON + 9, 1, "zcol"]]
    assert footer["records"] == 3
    assert [entry[1:] for entry in footer["index"]] == [list(frame[:3]) for frame in frames]
    assert file.read_bytes()[footer_offset:].startswith(msgpack.packb(footer)[:20])


@pytest.mark.parametrize(
    ("words", "figure"),
    [
        ("is at most 16 MiB (a reader", columns.MAX_BLOCK >> 20),
        ("at most 16 MiB and 64 KiB long", codec.MAX_PAYLOAD - (64 << 10) >> 20),
        ("at most 65,536", columns.MAX_RECORDS),
        ("at most 64 MiB together", columns.MAX_EXPANDED >> 20),
        ("a single one is at most 8 MiB", codec.MAX_RECORD >> 20),
        ("at most 4096, repeated names", columns.MAX_HEADERS),
        ("100,000 frames are the most", codec.MAX_FRAMES),
        ("**Header** (at most 64 KiB)", codec.MAX_HEADER >> 10),
        ("**Footer** (at most 4 MiB", codec.MAX_FOOTER >> 20),
    ],
)
def test_the_bounds_are_those_of_the_code(words: str, figure: int) -> None:
    assert words in " ".join(DOCUMENT.split())
    assert str(figure) in re.findall(r"\d+", words.replace(",", ""))
