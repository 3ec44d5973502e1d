"""The token: one way to write a tag, and nothing else is read."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtag import LoadTag, TagError, format_token, parse

ALPHABET = string.ascii_letters + string.digits + "-_"
FIELDS = st.text(ALPHABET, min_size=1, max_size=64)
TAGS = st.builds(LoadTag, FIELDS, FIELDS, st.integers(0, 10**12 - 1), FIELDS)
SIGNATURES = st.binary(min_size=64, max_size=64)

SIGNATURE = bytes(range(64))
GOOD = format_token(LoadTag("key", "run-1", 1_800_000_000, "shop"), SIGNATURE)
ENCODED = GOOD.rpartition(".")[2]


@given(TAGS, SIGNATURES)
def test_what_is_written_is_read(tag: LoadTag, signature: bytes) -> None:
    token = format_token(tag, signature)
    parsed = parse(token)
    assert (parsed.tag, parsed.signature) == (tag, signature)
    assert parsed.signed == token.rpartition(".")[0].encode("ascii")
    assert len(token) <= 512


@given(TAGS, SIGNATURES)
def test_a_token_needs_no_escaping(tag: LoadTag, signature: bytes) -> None:
    assert set(format_token(tag, signature)) <= set(ALPHABET + ".")


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "v1",
        "v1.....",
        GOOD + ".",
        GOOD + "\n",
        " " + GOOD,
        GOOD + "=",
        GOOD + "==",
        GOOD[:-1],
        GOOD + "A",
        GOOD.replace("v1", "v2"),
        GOOD.replace("v1", "V1"),
        GOOD.replace("run-1", ""),
        GOOD.replace("run-1", "r" * 65),
        GOOD.replace("run-1", "run.1"),
        GOOD.replace("run-1", "run 1"),
        GOOD.replace("run-1", "run+1"),
        GOOD.replace("run-1", "rün-1"),
        GOOD.replace("run-1", "run-1\x00"),
        GOOD.replace("1800000000", ""),
        GOOD.replace("1800000000", "-1"),
        GOOD.replace("1800000000", "+1"),
        GOOD.replace("1800000000", "01800000000"),  # a leading zero: the same tag written otherwise
        GOOD.replace("1800000000", "1_800_000_000"),  # int() reads it
        GOOD.replace("1800000000", "1e9"),
        GOOD.replace("1800000000", "1" * 13),
        GOOD.replace("1800000000", "١٨٠٠٠٠٠٠٠٠"),
        GOOD.replace("1800000000", "１８００００００００"),  # noqa: RUF001
        GOOD.replace("shop", "s" * 65),
        GOOD.replace(ENCODED, base64.b64encode(b"\xff" * 64).decode().rstrip("=")),  # the alphabet with + and /
        GOOD * 3,
        "v1." + "a" * 10_000_000,
    ],
)
def test_anything_else_is_malformed(token: str) -> None:
    with pytest.raises(TagError) as caught:
        parse(token)
    assert caught.value.reason == "malformed"


def test_a_signature_is_read_in_its_one_canonical_spelling() -> None:
    """The last character has four spare bits: sixteen spellings decode to the same bytes, one is the proper one."""
    stem, last = GOOD[:-1], GOOD[-1]
    index = (string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_").index(last)
    assert index % 16 == 0
    same = [
        (string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_")[index + spare] for spare in range(16)
    ]
    for character in same[1:]:
        assert base64.urlsafe_b64decode(ENCODED[:-1] + character + "==") == SIGNATURE
        with pytest.raises(TagError):
            parse(stem + character)


@given(st.text())
def test_arbitrary_text_is_malformed(text: str) -> None:
    with pytest.raises(TagError, match="not a load tag"):
        parse(text)


@pytest.mark.parametrize(
    "tag",
    [
        LoadTag("", "run", 1, "shop"),
        LoadTag("key", "run.1", 1, "shop"),
        LoadTag("key", "run\r\nx: y", 1, "shop"),
        LoadTag("key", "run", 1, "s" * 65),
        LoadTag("key", "run", -1, "shop"),
        LoadTag("key", "run", 10**12, "shop"),
    ],
)
def test_what_could_not_be_read_is_not_written(tag: LoadTag) -> None:
    with pytest.raises(ValueError, match="must be"):
        format_token(tag, SIGNATURE)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_has_64_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        format_token(LoadTag("key", "run", 1, "shop"), bytes(length))


def test_an_error_does_not_repeat_the_token() -> None:
    with pytest.raises(TagError) as caught:
        parse("secret-looking text")
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value)
