"""The pure core: what a seal promises about single blocks and footers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import sealing
from captures.errors import CaptureError
from captures.sealing import Seal

KEY = bytes(range(32))
HEADER = b"\x8dheader"
HEAD = b"\x96\xcf-head-of-a-frame-xstd"


@given(payload=st.binary(max_size=200), head=st.binary(max_size=40), number=st.integers(0, 2**63 - 1))
def test_what_is_sealed_opens(payload: bytes, head: bytes, number: int) -> None:
    sealed = Seal(KEY, HEADER).seal(head, number, payload)
    assert len(sealed) == len(payload) + sealing.OVERHEAD
    assert sealing.number_of(sealed) == number
    assert Seal(KEY, HEADER).open(head, sealed) == payload


@given(data=st.data(), payload=st.binary(min_size=1, max_size=64))
def test_any_changed_bit_is_noticed(data: st.DataObject, payload: bytes) -> None:
    sealed = bytearray(Seal(KEY, HEADER).seal(HEAD, 3, payload))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CaptureError):
        Seal(KEY, HEADER).open(HEAD, bytes(sealed))


@pytest.mark.parametrize(
    ("seal", "head"),
    [
        (Seal(bytes(32), HEADER), HEAD),
        (Seal(KEY, HEADER + b"!"), HEAD),
        (Seal(KEY, HEADER), HEAD + b"!"),
    ],
    ids=["another key", "another header", "another head"],
)
def test_a_block_opens_only_where_it_was_sealed(seal: Seal, head: bytes) -> None:
    sealed = Seal(KEY, HEADER).seal(HEAD, 3, b"payload")
    with pytest.raises(CaptureError, match="block 3 is not the one that was sealed here"):
        seal.open(head, sealed)


def test_a_block_does_not_open_under_another_number() -> None:
    sealed = Seal(KEY, HEADER).seal(HEAD, 3, b"payload")
    with pytest.raises(CaptureError, match="block 4 is not"):
        Seal(KEY, HEADER).open(HEAD, (4).to_bytes(8) + sealed[8:])


@pytest.mark.parametrize("payload", [b"", bytes(23), b"\xff" * 40])
def test_what_is_too_short_or_has_no_number_is_no_sealed_block(payload: bytes) -> None:
    assert sealing.number_of(payload) is None
    with pytest.raises(CaptureError, match="too short"):
        Seal(KEY, HEADER).open(HEAD, payload)


def test_no_number_is_ever_used_twice() -> None:
    seal = Seal(KEY, HEADER)
    seal.seal(HEAD, 0, b"one")
    seal.seal(HEAD, 5, b"two")
    for number in (0, 4, 5, -1, 2**63):
        with pytest.raises(ValueError, match="6 is next"):
            seal.seal(HEAD, number, b"three")


def test_equal_blocks_do_not_look_equal() -> None:
    seal = Seal(KEY, HEADER)
    first, second = (seal.seal(HEAD, number, bytes(64)) for number in (0, 1))
    assert first[8:] != second[8:]
    assert bytes(16) not in first[8:]


def test_a_signed_footer_cannot_be_changed_or_moved() -> None:
    tag = Seal(KEY, HEADER).sign(b"footer")
    assert Seal(KEY, HEADER).signed(b"footer", tag)
    assert not Seal(KEY, HEADER).signed(b"Footer", tag)
    assert not Seal(KEY, b"other").signed(b"footer", tag)
    assert not Seal(bytes(32), HEADER).signed(b"footer", tag)
    assert not Seal(KEY, HEADER).signed(b"footer", b"")


def test_codecs_say_whether_a_block_is_sealed() -> None:
    assert sealing.sealed_name(b"zstd") == b"xstd"
    assert sealing.plain_name(b"xstd") == b"zstd"
    assert [sealing.is_sealed(name) for name in (b"xstd", b"zstd", b"")] == [True, False, False]
    with pytest.raises(ValueError, match="cannot be sealed"):
        sealing.sealed_name(b"xstd")


def test_keys_are_drawn_anew() -> None:
    assert len(sealing.new_key()) == sealing.KEY
    assert sealing.new_key() != sealing.new_key()
