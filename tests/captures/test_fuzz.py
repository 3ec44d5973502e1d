"""Hypothesis against all that reads segments: whatever stands in a file, it is read, or refused in words."""

from pathlib import Path
from typing import Any

import msgpack
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from captures import codec, sealing
from captures.sealing import Seal
from tests.captures import making
from tests.captures.making import NOON, record
from tests.support.fuzzing.mutations import KEY, checked, corpus, mutate, sealed
from tests.support.fuzzing.trial import attempt

CORPUS = corpus()
BLOCKS = [[record(NOON + n) for n in range(3)]]
PLAIN, SEALED = b"".join(making.segment(BLOCKS)), sealed(BLOCKS)

_numbers = st.integers(-(1 << 63), (1 << 64) - 1) | st.sampled_from([0, 1, 3, NOON, 1 << 63])
_scalars = st.none() | st.booleans() | _numbers | st.floats() | st.binary(max_size=30) | st.text(max_size=10)
_keys = st.text(max_size=8) | st.sampled_from(["closed_ns", "records", "seal", "header", "crc32c", "scheme", "key"])
trees: st.SearchStrategy[Any] = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=14) | st.dictionaries(_keys, inner, max_size=5), max_leaves=40
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def tried(data: bytes, folder: Path) -> None:
    attempt(data, folder, repairing=True, seconds=20)


def parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Header, frames and footer with trailer."""
    _, start = codec.unpack_header(data)
    end = int.from_bytes(data[-8:])
    return data[:start], data[start:end], data[end:]


def fields(packed: bytes) -> dict[str, Any]:
    unpacker = msgpack.Unpacker()
    unpacker.feed(packed)
    found: dict[str, Any] = unpacker.unpack()
    del found["crc32c"]
    return found


@given(rest=st.binary(max_size=400))
def test_any_bytes_after_a_header(rest: bytes, folder: Path) -> None:
    tried(parts(PLAIN)[0] + rest, folder)


@given(data=st.binary(max_size=400))
def test_any_bytes_at_all(data: bytes, folder: Path) -> None:
    tried(data, folder)


@given(
    tree=trees,
    raw=st.booleans(),
    count=st.integers(1, 4) | st.just((1 << 32) - 1),
    name=st.sampled_from(["zcol", "zstd"]),
)
def test_any_block_behind_a_right_checksum(tree: Any, raw: bool, count: int, name: str, folder: Path) -> None:
    content = tree if raw and isinstance(tree, bytes) else msgpack.packb(tree)
    payload = zstandard.compress(content)
    tried(parts(PLAIN)[0] + codec.pack_frame(NOON, NOON + 9, count, payload, name.encode()), folder)


@given(tree=trees, number=st.integers(0, 5))
def test_any_block_under_a_right_seal(tree: Any, number: int, folder: Path) -> None:
    header, frames, _ = parts(SEALED)
    payload = zstandard.compress(msgpack.packb(tree))
    frame = codec.seal_frame(Seal(KEY, header), number, NOON, NOON + 9, 3, payload)
    tried(header + frames + frame, folder)
    assert sealing.is_sealed(frame[25:29])


@given(
    changes=st.dictionaries(
        _keys | st.sampled_from(["version", "accounting", "extra", "encryption"]), trees, max_size=4
    )
)
def test_any_header_behind_a_right_checksum(changes: dict[str, Any], folder: Path) -> None:
    header, frames, rest = parts(PLAIN)
    tried(checked({**fields(header), **changes}) + frames + rest, folder)


@given(
    changes=st.dictionaries(
        _keys | st.sampled_from(["index", "repaired", "accounting", "first_ns"]), trees, max_size=4
    ),
    index=st.none() | st.lists(st.lists(_numbers, min_size=4, max_size=4), max_size=6),
    whole=st.sampled_from([PLAIN, SEALED]),
)
def test_any_footer_behind_a_right_checksum(
    changes: dict[str, Any], index: list[list[int]] | None, whole: bytes, folder: Path
) -> None:
    header, frames, rest = parts(whole)
    footer = {**fields(rest), **({} if index is None else {"index": index}), **changes}
    tried(header + frames + checked(footer) + rest[-9:], folder)


@settings(max_examples=300)
@given(number=st.integers(0, 1 << 40))
def test_mutated_segments(number: int, folder: Path) -> None:
    tried(mutate(f"hypothesis:{number}", CORPUS), folder)
