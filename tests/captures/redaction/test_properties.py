"""Whatever a document looks like: no planted secret survives, and all the rest stays."""

import json
import re
from typing import Any
from urllib.parse import parse_qsl, quote

from hypothesis import assume, given
from hypothesis import strategies as st

from captures.records import Record
from captures.redaction import Redactor, Rules
from captures.redaction.pseudonyms import Pseudonyms, is_card, looks_like_pseudonym, luhn_digit
from tests.captures.making import KEY, record

REDACTOR = Redactor(KEY)
FIELDS = REDACTOR.fields
NAMES = """password passwd userPassword user_password PASSWORD client_secret clientSecret access_token accessToken
    api_key apiKey API-KEY x.api.key pin cardPin otp card cardNumber csrf_token sessionId auth signature cvv iban
    user[password] token[] tokens[0] pin2""".split()  # noqa: SIM905
PLAIN_NAMES = "id name price author keyword shipping qty note list obj x monkey max_tokens".split()  # noqa: SIM905
secret_texts = st.from_regex(r"S3C[a-z0-9]{6,12}-Q", fullmatch=True)
plain_texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=12).filter(
    lambda text: FIELDS.quiet(text.encode()) and not text.strip().startswith(("{", "["))
)


class Planted(str):
    """A secret."""

    __slots__ = ()


class Object(list[Any]):
    """An object as its members, so that a name may come twice."""


def _digits(number: float) -> str:
    return re.sub(r"[^0-9]", "", json.dumps(number))


def documents() -> st.SearchStrategy[Any]:
    """JSON values with secrets under secret names, at any depth."""
    # Without those that have as many digits as the number of a card: one in ten of them might be one.
    floats = st.floats(allow_nan=False, allow_infinity=False, width=32).filter(lambda one: len(_digits(one)) < 13)
    numbers = st.integers(-(10**6), 10**6) | floats
    leaves = st.none() | st.booleans() | numbers | plain_texts
    secret = secret_texts.map(Planted)
    hidden = secret | st.lists(secret, max_size=2) | st.dictionaries(st.sampled_from(PLAIN_NAMES), secret, max_size=2)
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.builds(
                lambda plain, secrets: Object([*plain.items(), *secrets]),
                st.dictionaries(st.sampled_from(PLAIN_NAMES), inner, max_size=4),
                st.lists(st.tuples(st.sampled_from(NAMES), hidden), max_size=2),
            )
        ),
        max_leaves=25,
    )


def spelled(value: Any, draw: Any) -> str:
    """Write JSON in one of its many spellings."""
    blank: str = draw(st.sampled_from(["", " ", "\n\t"]))
    if isinstance(value, Object):
        members = [f"{blank}{quoted(name, draw)}{blank}:{spelled(one, draw)}" for name, one in value]
        return "{" + ",".join(members) + blank + "}"
    if isinstance(value, dict):
        return spelled(Object(value.items()), draw)
    if isinstance(value, list):
        return "[" + ",".join(blank + spelled(one, draw) for one in value) + "]"
    if isinstance(value, str):
        return quoted(value, draw)
    return str(json.dumps(value))


def quoted(value: str, draw: Any) -> str:
    """Write a string, maybe with one of its characters escaped that need not be."""
    at = draw(st.none() | st.integers(0, max(0, len(value) - 1)))
    ascii_only = draw(st.booleans())
    letters = (
        f"\\u{ord(letter):04x}"
        if number == at and ord(letter) < 0x10000
        else json.dumps(letter, ensure_ascii=ascii_only)[1:-1]
        for number, letter in enumerate(value)
    )
    return f'"{"".join(letters)}"'


def values(value: Any) -> list[Any]:
    """All leaves, in order."""
    if isinstance(value, Object):
        return [leaf for _, one in value for leaf in values(one)]
    if isinstance(value, dict):
        return [leaf for one in value.values() for leaf in values(one)]
    if isinstance(value, list):
        return [leaf for one in value for leaf in values(one)]
    return [value]


def post(body: bytes, kind: str, **fields: Any) -> Record:
    headers = ((b"Content-Type", kind.encode()), (b"Content-Length", b"%d" % len(body)))
    return record(method="POST", body=body, body_size=len(body), headers=headers, **fields)


def consistent(item: Record) -> None:
    assert item.body_size == len(item.body) == int(dict(item.headers)[b"Content-Length"])
    assert REDACTOR.record(item) == item


@given(documents(), st.data(), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_json(document: Any, data: st.DataObject, charset: str) -> None:
    written = spelled(document, data.draw)
    after = REDACTOR.record(post(written.encode(charset), "application/json"))
    consistent(after)
    clean = after.body.decode(charset)
    before, found = values(document), values(json.loads(clean, object_pairs_hook=Object))
    assert len(before) == len(found)
    for was, now in zip(before, found, strict=True):
        assert now == (REDACTOR.pseudonym(was.encode()).decode() if isinstance(was, Planted) else was)
    # Byte for byte: where no pseudonym stands now, everything is as it was written.
    pieces = re.split(r'"redacted-[A-Za-z0-9_-]{23}-*"', clean)
    assert re.fullmatch('"[^"]*"'.join(map(re.escape, pieces)), written, re.DOTALL)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), secret_texts), max_size=4),
    st.lists(st.tuples(st.sampled_from(PLAIN_NAMES), plain_texts), max_size=4),
    st.data(),
)
def test_forms_and_queries(secret: list[tuple[str, str]], plain: list[tuple[str, str]], data: st.DataObject) -> None:
    pairs = data.draw(st.permutations([*secret, *plain]))

    def encoded(part: str) -> str:
        at = data.draw(st.none() | st.integers(0, max(0, len(part) - 1)))
        digits = data.draw(st.sampled_from(["%%%02x", "%%%02X"]))
        return "".join(
            digits % ord(letter) if number == at and letter.isascii() else quote(letter, safe="")
            for number, letter in enumerate(part)
        )

    written = "&".join(f"{encoded(name)}={encoded(value)}" for name, value in pairs)
    after = REDACTOR.record(post(written.encode(), "application/x-www-form-urlencoded", path=f"/a?{written}"))
    consistent(after)
    assert after.path == f"/a?{after.body.decode()}"
    assert parse_qsl(after.body.decode(), keep_blank_values=True) == [
        (name, REDACTOR.pseudonym(value.encode()).decode() if (name, value) in secret else value)
        for name, value in pairs
    ]
    for pair, was, now in zip(pairs, written.split("&"), after.body.decode().split("&"), strict=False):
        assert pair in secret or was == now


@given(secret_texts)
def test_a_secret_is_the_same_wherever_it_stands(secret: str) -> None:
    told = REDACTOR.pseudonym(secret.encode()).decode()
    cookies = f"csrf={secret}; a=1", f"XSRF-TOKEN={secret.replace('-', '%2D')}"
    places = [
        record(path=f"/?csrf_token={secret}"),
        record(headers=((b"X-CSRF-Token", secret.encode()),)),
        *(record(headers=((b"Cookie", cookie.encode()),)) for cookie in cookies),
        record(headers=((b"Authorization", f"Bearer {secret}".encode()),)),
        post(f"csrf={secret}".encode(), "application/x-www-form-urlencoded"),
        post(json.dumps({"csrf": secret}).encode(), "application/json"),
        post(json.dumps({"authorization": f"Bearer {secret}"}).encode(), "application/json"),
        post(f"<csrf>{secret}</csrf>".encode(), "text/xml"),
    ]
    for place in places:
        after = REDACTOR.record(place)
        assert secret not in str(after)
        assert told in str(after)


@given(st.binary(max_size=120), st.sampled_from(["", "application/json", "application/x-www-form-urlencoded"]))
def test_any_body_is_taken_and_redacting_twice_is_redacting_once(body: bytes, kind: str) -> None:
    item = post(body, kind)
    once = REDACTOR.record(item)
    assert REDACTOR.record(once) == once
    cut = REDACTOR.record(item._replace(body_size=len(body) + 1))
    assert len(cut.body) < cut.body_size


_PIECES = [
    "%40",
    "\\u0070",
    "4000056655665556",
    "ann@shop.example",
    "://a:b@",
    "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.x",
    "\n",
    "é",
    "%7B",
    "&#64;\n",
    "",
    "",
    "",
    "S3Csecret-Q",
    "1",
    "+",
    "Bearer",
]
SNIPPETS = st.sampled_from([*NAMES, *PLAIN_NAMES, *'"\\{}[]:=&,;<>% ', *_PIECES])


@given(st.lists(SNIPPETS, max_size=14).map("".join), st.booleans())
def test_where_the_hint_sees_nothing_there_is_nothing(text: str, truncated: bool) -> None:
    """The promise that makes it quick: a quiet text is one in which the whole search finds nothing."""
    raw = text.encode()
    if FIELDS.quiet(raw):
        assert FIELDS.text(raw, loud=True) == []
    end = 0  # and what is found is in order, in the text, and without overlaps
    for edit in FIELDS.text(raw, truncated=truncated):
        assert end <= edit.start <= edit.end <= len(raw)
        end = edit.end


@given(st.lists(SNIPPETS, max_size=10).map("".join), st.text(alphabet="aPIkeyin_-.[]2 pswordASW", max_size=12))
def test_a_name_that_means_a_secret_is_seen_by_the_hint_whatever_surrounds_it(before: str, name: str) -> None:
    if FIELDS.names.secret(name.encode()):
        assert not FIELDS.quiet(f'{before}"{name}":1'.encode())
        assert not FIELDS.quiet(f"{name}=1".encode())


@given(st.lists(SNIPPETS, max_size=12).map("".join), st.sampled_from(["application/json", "text/plain", ""]))
def test_a_cut_body_never_ends_in_the_half_of_a_password(text: str, kind: str) -> None:
    for cut in ('"password":"hunter2seve', "password=hunter2seve", "<password>hunter2seve", 'password: "hunter2seve'):
        body = f"{text}\n{cut}".encode()
        after = REDACTOR.record(post(body, kind)._replace(body_size=len(body) + 30))
        assert b"hunter2" not in after.body


@given(st.from_regex(r"[2-6][0-9]{14}", fullmatch=True), st.sampled_from(["", " ", "-"]))
def test_a_card_stays_a_number_that_passes_and_that_no_card_has(stem: str, between: str) -> None:
    digits = stem + luhn_digit(stem.encode()).decode()
    assume(is_card(digits.encode()))
    card = between.join(digits[at : at + 4] for at in range(0, 16, 4))
    after = REDACTOR.record(post(json.dumps({"note": f"on {card}."}).encode(), "application/json"))
    found = json.loads(after.body)["note"][3:-1]
    assert [len(group) for group in re.split(r"[ -]", found)] == [len(group) for group in re.split(r"[ -]", card)]
    bare = re.sub(r"[ -]", "", found).encode()
    assert bare.startswith(b"9999")
    assert luhn_digit(bare[:-1]) == bare[-1:]
    assert not is_card(bare)
    assert REDACTOR.pseudonym(card.encode()).decode() == found, "the same in a field that is named card"


@given(st.binary(min_size=1, max_size=300))
def test_a_pseudonym_has_the_length_of_its_class_and_is_known_again(secret: bytes) -> None:
    pseudonyms, others = Pseudonyms(KEY), Pseudonyms(bytes(32))
    found = pseudonyms.of(secret)
    assert pseudonyms.owns(found)
    assert looks_like_pseudonym(found)
    assert pseudonyms.of(found) == found
    assert others.of(found) != found, "under another key it is a secret like any other"
    assert re.fullmatch(rb"[A-Za-z0-9_@. -]+", found)
    if found.startswith(b"redacted-") and b"@" not in found:
        assert len(found) == max(32, 1 << (len(secret) - 1).bit_length())


def test_a_look_alike_is_no_pseudonym() -> None:
    """Nobody without the key can dress a secret up so that it is left alone."""
    for secret in ("redacted-hunter2hunter2hunter2hu", "redacted-" + "a" * 23, "999912345678901234"):
        assert secret not in str(REDACTOR.record(record(path=f"/?password={secret}")))


@given(st.text(max_size=60), st.text(max_size=60))
def test_own_patterns_are_found_in_any_string(before: str, after: str) -> None:
    by = Redactor(KEY, Rules.model_validate({"patterns": [{"name": "staff", "regex": r"EMP-\d{6}"}]}))
    body = json.dumps({"a": {"b": [f"{before} EMP-123456 {after}"]}}).encode()
    assert b"EMP-123456" not in by.record(post(body, "application/json")).body
