"""Finding, removing and adding the tag in header fields."""

from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtag import LoadTag, format_token
from loadtag.headers import BAGGAGE_KEY, RUN_HEADER, Found, find, fits, put, strip, unverified_tag

Field = tuple[bytes, bytes]

TAG = LoadTag("key", "run-1", 1_800_000_000, "shop")
TOKEN = format_token(TAG, bytes(64))
MEMBER = b"loadtest=" + TOKEN.encode()
HOST = (b"host", b"example.org")

# Text that is likely to hold what is looked for, in some spelling or nearly so.
WORDS = [b"loadtest", b"LoadTest", b"%6coadtest", b"loadtes%54", b"load", b"test", b"a", b"1", b"key=v", MEMBER]
MARKS = [b"=", b",", b";", b" ", b"\t", b"%20", b"+", b"%", b"\xa0", b"%c2%a0", b"\x00", b'"', b"%2C"]
VALUES = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from(WORDS) | st.sampled_from(MARKS), max_size=12).map(b"".join),
)
NAMES = st.one_of(
    st.sampled_from([b"baggage", b"Baggage", b"BAGGAGE", b"x-load-test", b"X-Load-Test", b"X_LOAD_TEST", b"referer"]),
    st.binary(max_size=12),
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)

KEYS = st.text("abcdefghijkmnopqrstuvwxyz", min_size=1, max_size=8)  # no l, so none is ours
PLAIN_MEMBERS = st.tuples(KEYS, st.text("abc123%;=._-", max_size=20)).map(lambda pair: f"{pair[0]}={pair[1]}".encode())


def lenient(fields: list[Field]) -> list[str]:
    """The baggage keys that a lenient parser sees: decodes, trims, ignores case (as common propagators do in part)."""
    text = ",".join(value.decode(charset, "replace") for charset in ("latin-1", "utf-8") for value in baggage(fields))
    keys = [member.partition("=")[0].partition(";")[0] for member in text.split(",")]
    return [unquote_plus(key).strip().lower() for key in keys]


def baggage(fields: list[Field]) -> list[bytes]:
    return [value for name, value in fields if name.lower() == b"baggage"]


def trimmed(fields: list[Field]) -> list[tuple[bytes, list[bytes]]]:
    """Fields with the optional blanks around members, which mean nothing, taken away."""
    return [(name, [member.strip(b" \t") for member in value.split(b",")]) for name, value in fields]


def found(*values: bytes) -> Found | None:
    return find([HOST, *((b"baggage", value) for value in values)])


def test_the_names_are_the_documented_ones() -> None:
    assert (BAGGAGE_KEY, RUN_HEADER) == ("loadtest", "x-load-test")


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [HOST],
        [(b"baggage", b"")],
        [(b"baggage", b"userId=alice,serverNode=DF%2028,isProduction=false")],
        [(b"baggage", b"user=loadtest")],
        [(b"baggage", b"user=a;loadtest=b")],  # a property of another member
        [(b"baggage", b"loadtester=1,xloadtest=1,load test=1,loadtest2=1,load%20test=1")],
        [(b"baggage", b"a=%6coadtest")],
        [(b"x-load-tess", b"1"), (b"upgrade", b"loadtest=1")],
        [(b"xbaggage", MEMBER), (b"cookie", MEMBER)],
    ],
)
def test_a_real_request_bears_no_trace(fields: list[Field]) -> None:
    assert find(fields) is None
    assert strip(fields) == fields
    assert unverified_tag(fields) is None


@pytest.mark.parametrize("name", [b"baggage", b"Baggage", b"BAGGAGE"])
@pytest.mark.parametrize(
    "value",
    [
        MEMBER,
        b" " + MEMBER + b" ",
        MEMBER.replace(b"=", b" \t=\t ", 1),
        MEMBER + b";prop=1",
        MEMBER + b" ; prop ; other = 2",
        b"a=1," + MEMBER,
        b"a=1 , " + MEMBER + b" ,b=2;p",
        MEMBER + b",",
    ],
)
def test_a_proper_tag_is_found(name: bytes, value: bytes) -> None:
    fields = [HOST, (name, value)]
    assert find(fields) == Found(TOKEN)
    assert unverified_tag(fields) == TAG
    assert find([*fields, (b"X-Load-Test", b"run-1")]) == Found(TOKEN)


@pytest.mark.parametrize(
    "values",
    [
        [MEMBER, MEMBER],  # twice, even if the same
        [MEMBER + b"," + MEMBER],
        [MEMBER, b"LOADTEST=1"],
        [b"loadtest"],
        [b"loadtest="],
        [b"loadtest;p=1"],
        [b"loadtest=;p=1"],
        [b"a=1,loadtest"],
        [b"LoadTest=" + TOKEN.encode()],
        [b"%6coadtest=" + TOKEN.encode()],
        [b"%6C%6f%61%64%74%65%73%74=" + TOKEN.encode()],
        [b"%4CoadTes%54=" + TOKEN.encode()],
        [b"%20loadtest=" + TOKEN.encode()],
        [b"+loadtest=" + TOKEN.encode()],
        [b"\xa0loadtest=" + TOKEN.encode()],
        [b"\x00loadtest\x00=" + TOKEN.encode()],
        [b"%e2%80%83loadtest=" + TOKEN.encode()],
        [MEMBER + b" x"],
        [b'loadtest="' + TOKEN.encode() + b'"'],
        [b"loadtest=" + b"a" * 513],
        [b"loadtest=" + b"a" * 1_000_000],
        [b"loadtest=\xff"],
        [b"loadtest=" + "é".encode()],
    ],
)
def test_a_disguised_or_ambiguous_tag_is_noticed_and_not_believed(values: list[bytes]) -> None:
    assert found(*values) == Found(None)
    fields = [(b"baggage", value) for value in values]
    assert unverified_tag(fields) is None
    assert find(strip(fields)) is None


@pytest.mark.parametrize("name", [b"x-load-test", b"X-Load-Test", b"X_LOAD_TEST", b"x-load_test"])
def test_the_header_for_people_alone_is_no_tag_but_a_trace(name: bytes) -> None:
    assert find([HOST, (name, b"run-1")]) == Found(None)
    assert strip([HOST, (name, b"run-1")]) == [HOST]


def test_two_headers_for_people_are_ambiguous() -> None:
    run = (b"x-load-test", b"run-1")
    assert find([(b"baggage", MEMBER), run]) == Found(TOKEN)
    assert find([(b"baggage", MEMBER), run, run]) == Found(None)


def test_what_is_no_token_is_handed_on_to_the_verifier_but_is_no_tag() -> None:
    assert found(b"loadtest=v1.rubbish") == Found("v1.rubbish")
    assert unverified_tag([(b"baggage", b"loadtest=v1.rubbish")]) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (MEMBER, None),
        (MEMBER + b" , ,", None),
        (b"a=1," + MEMBER, b"a=1"),
        (MEMBER + b", b=2;p=%20 x", b"b=2;p=%20 x"),
        (b"a=1 ,  LoadTest=x ,\tb=2", b"a=1 ,\tb=2"),
        (b"loadtest=x;p=1,a=1,%6coadtest,b=,loadtest=", b"a=1,b="),
        (b"a=1,,b=2," + MEMBER, b"a=1,,b=2"),
    ],
)
def test_strip_leaves_the_other_members(before: bytes, after: bytes | None) -> None:
    expected = [HOST] if after is None else [HOST, (b"Baggage", after)]
    assert strip([HOST, (b"Baggage", before)]) == expected


@given(FIELDS)
def test_after_strip_there_is_no_trace_for_any_parser(fields: list[Field]) -> None:
    stripped = strip(fields)
    assert find(stripped) is None
    assert "loadtest" not in lenient(stripped)
    assert strip(stripped) == stripped


@given(FIELDS)
def test_strip_changes_only_what_bears_a_trace(fields: list[Field]) -> None:
    stripped = strip(fields)
    assert (stripped == fields) == (find(fields) is None)
    others = [field for field in fields if find([field]) is None]
    assert [field for field in stripped if field in others] == others


@given(st.lists(PLAIN_MEMBERS, min_size=1, max_size=10), st.integers(0, 10), st.sampled_from([b"", b" ", b"\t "]))
def test_strip_keeps_other_members_byte_for_byte(members: list[bytes], place: int, blank: bytes) -> None:
    tagged = [*members[:place], blank + MEMBER, *members[place:]]
    assert strip([(b"baggage", b",".join(tagged))]) == [(b"baggage", b",".join(members))]


@given(
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.sampled_from([b"", b" ", b"%20", b"+", b"\t", b"\x1f", b"%C2%A0", b"\xa0", b"%e3%80%80"]),
    st.sampled_from([b"", b"a=1,", b"a=1 , ", b","]),
)
def test_every_spelling_is_noticed(encoded: list[bool], capital: list[bool], junk: bytes, ahead: bytes) -> None:
    letters = [bytes([ord(letter) - 32 * up]) for letter, up in zip("loadtest", capital, strict=True)]
    key = b"".join(b"%%%02x" % letter[0] if code else letter for letter, code in zip(letters, encoded, strict=True))
    assert found(ahead + junk + key + junk + b"=" + TOKEN.encode()) is not None


@given(FIELDS)
def test_put_makes_exactly_one_proper_tag_of_anything(fields: list[Field]) -> None:
    tagged = put(fields, TOKEN, "run-1")
    assert find(tagged) == Found(TOKEN)
    assert unverified_tag(tagged) == TAG
    assert [value for name, value in tagged if name == b"x-load-test"] == [b"run-1"]
    assert len(baggage(tagged)) == 1
    untouched = [field for field in strip(fields) if field[0].lower() != b"baggage"]
    assert [field for field in strip(tagged) if field[0].lower() != b"baggage"] == untouched
    assert trimmed(put(tagged, TOKEN, "run-1")) == trimmed(tagged)


@given(
    st.lists(PLAIN_MEMBERS, max_size=10), st.lists(st.tuples(st.sampled_from([b"accept", b"x-a"]), VALUES), max_size=3)
)
def test_strip_undoes_put(members: list[bytes], others: list[Field]) -> None:
    fields = [*others, *([(b"baggage", b", ".join(members))] if members else [])]
    assert strip(put(fields, TOKEN, "run-1")) == fields


@given(st.lists(st.lists(PLAIN_MEMBERS, min_size=1, max_size=4), max_size=4))
def test_put_joins_baggage_fields_and_keeps_all_members_in_order(fields: list[list[bytes]]) -> None:
    tagged = put([(b"baggage", b",".join(members)) for members in fields], TOKEN, "run-1")
    assert baggage(tagged)[0].split(b",") == [member for members in fields for member in members] + [MEMBER]


@pytest.mark.parametrize("count", [62, 63, 64, 65, 180])
def test_put_keeps_to_64_members(count: int) -> None:
    members = [b"k%d=v" % number for number in range(count)]
    (value,) = baggage(put([(b"baggage", b",".join(members))], TOKEN, "run-1"))
    assert value.split(b",") == [*members[:63], MEMBER]


@given(st.lists(st.integers(1, 5000), max_size=12))
def test_put_keeps_to_8192_bytes_and_whole_members(lengths: list[int]) -> None:
    members = [b"k=" + b"v" * length for length in lengths]
    (value,) = baggage(put([(b"baggage", b",".join(members))], TOKEN, "run-1"))
    *kept, last = value.split(b",")
    assert last == MEMBER
    assert len(value) <= 8192
    assert kept == members[: len(kept)]
    if len(kept) < len(members):
        assert len(value) + 1 + len(members[len(kept)]) > 8192, "there was room for one more"


def test_put_fills_8192_bytes_exactly() -> None:
    room = 8192 - len(MEMBER) - 1
    exact, over = b"k=" + b"v" * (room - 2), b"k=" + b"v" * (room - 1)
    assert baggage(put([(b"baggage", exact)], TOKEN, "run-1")) == [exact + b"," + MEMBER]
    assert baggage(put([(b"baggage", over)], TOKEN, "run-1")) == [MEMBER]


@pytest.mark.parametrize(
    ("token", "run_id"),
    [(TOKEN, "a\r\nset-cookie: x"), ("a,b=c", "run"), ("a;b", "run"), ("", "run"), (TOKEN, ""), ("é", "run")],
)
def test_put_writes_nothing_that_could_be_read_otherwise(token: str, run_id: str) -> None:
    with pytest.raises(ValueError, match="consist of"):
        put([HOST], token, run_id)


@given(FIELDS)
def test_what_is_put_fits(fields: list[Field]) -> None:
    assert fits(put(fields, TOKEN, "run-1"))


@pytest.mark.parametrize(
    ("values", "fit"),
    [
        ([], True),
        ([b",".join([b"a=b"] * 64)], True),
        ([b",".join([b"a=b"] * 65)], False),
        ([b"a=b"] * 64, True),
        ([b"a=b"] * 65, False),
        ([b"a=" + b"b" * 8190], True),
        ([b"a=" + b"b" * 8191], False),
        ([b"a=" + b"b" * 4094, b"a=" + b"b" * 4093], True),
        ([b"a=" + b"b" * 4094, b"a=" + b"b" * 4094], False),  # joined by a comma
    ],
)
def test_what_fits(values: list[bytes], fit: bool) -> None:
    assert fits([HOST, *((b"Baggage", value) for value in values)]) == fit


@given(FIELDS)
def test_nothing_is_changed_in_place(fields: list[Field]) -> None:
    before = list(fields)
    find(fields)
    strip(fields)
    put(fields, TOKEN, "run-1")
    assert fields == before


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "value",
    [
        b"%" * 300_000,
        b" " * 300_000,
        b"," * 300_000,
        b"loadtest" + b" " * 300_000 + b"x",
        b"%20" * 100_000 + b"%6",
        b"loadtest," * 30_000,
        b"%6coadtes" * 30_000,
    ],
)
def test_hostile_values_take_linear_time(value: bytes) -> None:
    fields = [(b"baggage", value)]
    find(fields)
    assert find(strip(fields)) is None
