"""What becomes of each header field by its name, and what the user can say about it."""

import re
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.batch import BatchWriter
from captures.reader import Capture
from captures.records import Headers, Record
from loadtag.keys import generate
from replayer.counting.accounts import Accounts
from replayer.plan import Plan
from replayer.preparing.prepare import prepare
from replayer.requests.encoding import Encoder, Request
from replayer.requests.fields import FRAMING, HOP_BY_HOP, KEYS, LEFT_OUT, OVERRIDES, WRITE_KEYS, Kind, Names, kind_of
from replayer.requests.renewal import renewed
from replayer.requests.rewriting import Rewriting, header, once, token
from replayer.requests.writes import SAFE_METHODS, Writes
from replayer.selection import Selection
from replayer.stock import stocked
from rules.exits import UserError
from tests.support.recording import record

DOCUMENT = Path(__file__).resolve().parents[3] / "docs/replay.md"
UUID_KEY = b"8e03978e-40d5-43dd-bc93-6894a57f9324"


def encode(*fields: tuple[bytes, bytes], rewriting: Rewriting | None = None, **others: Any) -> Request | str:
    encoder = Encoder("run", SAFE_METHODS, "h", rewriting=rewriting or Rewriting(), writes=Writes(["POST *"]))
    return encoder.encode(record(headers=list(fields), **others))


def sent(request: Request | str) -> dict[bytes, bytes]:
    """The fields of a request, without those that every request has."""
    assert isinstance(request, Request), request
    lines = request.prefix.split(b"\r\n")[2:-1]
    assert len({line.partition(b": ")[0] for line in lines}) == len(lines)
    return {line.partition(b": ")[0]: line.partition(b": ")[2] for line in lines}


# --- left out, kept ---


@pytest.mark.parametrize(
    "name",
    [
        *("traceparent", "Tracestate", "b3", "X-B3-TraceId", "X-Datadog-Trace-Id", "X-Amzn-Trace-Id", "Date"),
        *("CDN-Loop", "X-Request-Start", "sentry-trace", "Request-Id"),
    ],
)
def test_what_would_pollute_or_be_untrue_is_left_out_unless_it_is_wanted(name: str) -> None:
    field = (name.encode(), b"recorded")
    assert sent(encode(field, (b"accept", b"*/*"))) == {b"accept": b"*/*"}
    for kept in (name, name.upper(), "*"):
        assert sent(encode(field, rewriting=Rewriting(kept=Names([kept])))) == dict([field])
    assert sent(encode(field, rewriting=Rewriting(once([header(f"{name}: own")])))) == {field[0]: b"own"}


@pytest.mark.parametrize(
    "name",
    [
        *("If-None-Match", "If-Modified-Since", "If-Match", "If-Range", "Range", "Cache-Control", "Pragma", "Via"),
        *("Accept-Encoding", "Forwarded", "X-Forwarded-For", "X-Real-IP", "Origin", "Referer", "Authorization"),
        *("Max-Forwards", "Prefer", "Priority", "X-Request-Id", "X-Correlation-Id", "X-Trace", "X-Amz-Date"),
    ],
)
def test_everything_else_is_sent_as_recorded(name: str) -> None:
    assert sent(encode((name.encode(), b"recorded"))) == {name.encode(): b"recorded"}


def test_nothing_of_the_connection_can_be_kept_and_no_tag() -> None:
    everything = Rewriting(kept=Names(["*"]))
    for name in (*HOP_BY_HOP - {b"upgrade", b"connection"}, *FRAMING):
        assert sent(encode((name, b"1"), rewriting=everything)) == {}
    assert encode((b"x-load-test", b"r"), rewriting=everything) == "tagged"


def test_removing_comes_before_keeping_and_keeping_before_renewing() -> None:
    both = Rewriting(removed=Names(["b3"]), kept=Names(["b3", "Idempotency-Key"]))
    assert sent(encode((b"b3", b"1"), (b"Idempotency-Key", b"k"), rewriting=both, method="POST")) == {
        b"Idempotency-Key": b"k",
        b"Content-Length": b"0",
    }


names = st.sampled_from(
    [name.replace("*", "x").encode() for name in (*LEFT_OUT, *KEYS, *WRITE_KEYS)]
    + [*HOP_BY_HOP, *FRAMING, *OVERRIDES, b"cookie", b"accept", b"baggage", b"x-load-test", b"a b", b""]
)


@given(names, st.booleans(), st.booleans(), st.booleans())
def test_a_name_has_one_kind_however_it_is_written(name: bytes, dropped: bool, kept: bool, again: bool) -> None:
    kinds = {
        kind_of(spelled, dropped=dropped, kept=kept, renewed=again)
        for spelled in (name.lower(), name.upper(), name.title())
    }
    assert len(kinds) == 1
    (kind,) = kinds
    if name.lower() in HOP_BY_HOP | FRAMING:
        assert kind in (Kind.DROP, Kind.CONNECTION, Kind.UPGRADE, Kind.TE)
    elif dropped:
        assert kind in (Kind.DROP, Kind.TAG, Kind.MALFORMED)


def test_the_document_says_the_same() -> None:
    text = DOCUMENT.read_text().partition("### Headers")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    kinds = {
        "as recorded": {Kind.KEEP, Kind.COOKIE, Kind.OVERRIDE, Kind.RENEW_IN_WRITES},
        "left out": {Kind.DROP, Kind.CONNECTION, Kind.UPGRADE, Kind.TE},
        "a new key": {Kind.RENEW},
    }
    told = set()
    for recorded, becomes, *_ in rows:
        names = {name.lower() for name in re.findall(r"`([A-Za-z0-9*-]+)`", recorded)}
        told |= names
        for words, expected in kinds.items():
            if becomes.startswith(words):
                assert {kind_of(name.replace("*", "x").encode()) for name in names if name[0] != "-"} <= expected
    known = {name.decode() for name in FRAMING | HOP_BY_HOP | OVERRIDES} | {*LEFT_OUT, *KEYS, *WRITE_KEYS}
    assert known <= told, known - told


# --- renewed ---


def key_of(request: Request | str, name: bytes = b"Idempotency-Key") -> bytes:
    return sent(request)[name]


@pytest.mark.parametrize("name", [b"Idempotency-Key", b"X-IDEMPOTENCY-KEY", b"idempotence-key", b"X-Request-Id"])
def test_a_write_gets_a_key_of_its_own_and_every_copy_another(name: bytes) -> None:
    request = encode((name, UUID_KEY), (b"accept", b"*/*"), method="POST", body=b"{}")
    assert isinstance(request, Request)
    copies = [request, *(request.another() for _ in range(50))]
    found = [key_of(copy, name) for copy in copies]
    assert len({*found, UUID_KEY}) == 52
    for copy, key in zip(copies, found, strict=True):
        assert uuid.UUID(key.decode()).version == 4
        assert copy.prefix.replace(key, b"") == request.prefix.replace(found[0], b"")
        assert (copy.tail, copy.safe, copy.route) == (request.tail, request.safe, request.route)
    again = encode((name, UUID_KEY), (b"accept", b"*/*"), method="POST", body=b"{}")
    assert isinstance(again, Request)
    assert [key_of(again, name), key_of(again.another(), name)] == found[:2]  # same run, same keys


def test_a_client_that_sent_a_write_twice_does_so_again() -> None:
    encoder = Encoder("run", SAFE_METHODS, "h", writes=Writes(["POST *"]))
    one, retry, other = (
        encoder.encode(record(moment, "/pay", method="POST", headers=[(b"idempotency-key", key)]))
        for moment, key in ((0, b"k"), (1, b"k"), (2, b"l"))
    )
    assert key_of(one, b"idempotency-key") == key_of(retry, b"idempotency-key") != key_of(other, b"idempotency-key")


def test_a_read_keeps_its_request_id_and_is_shared() -> None:
    encoder = Encoder("run", SAFE_METHODS, "h", writes=Writes(["POST *"]))
    field = [(b"X-Request-Id", b"r1")]
    for method, same in (("GET", True), ("POST", False), ("GET", True), ("POST", False)):
        request = encoder.encode(record(method=method, headers=field))
        assert isinstance(request, Request)
        assert (sent(request)[b"X-Request-Id"] == b"r1") is same
        assert (request.another() is request) is same


def test_other_headers_can_be_renewed_too() -> None:
    request = encode((b"X-Nonce", b"1"), rewriting=Rewriting(renewed=Names(["x-nonce"])))
    assert isinstance(request, Request)
    assert key_of(request, b"X-Nonce") != key_of(request.another(), b"X-Nonce")


@given(st.binary(max_size=60), st.integers(0, 3), st.integers(0, 3))
def test_keys_differ_by_everything_that_tells_copies_apart(recorded: bytes, round_: int, copy: int) -> None:
    key = renewed(recorded, "run", round_, copy)
    assert re.fullmatch(rb'"?[0-9a-f-]{32,36}"?', key)
    assert key == renewed(recorded, "run", round_, copy)
    others = [("run", round_ + 1, copy), ("run", round_, copy + 1), ("other", round_, copy), ("run", copy + 4, round_)]
    assert key not in {renewed(recorded, *other) for other in others}
    assert key.startswith(b'"') == recorded.strip(b" \t").startswith(b'"')


def test_a_key_looks_like_the_recorded_one() -> None:
    assert re.fullmatch(rb'"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"', renewed(b'"%b"' % UUID_KEY, "run", 0, 0))
    assert re.fullmatch(rb"[0-9a-f]{32}", renewed(b"8E03978E40D543DDBC936894A57F9324", "run", 0, 0))


def write(folder: Path, records: Iterable[Record]) -> Path:
    with BatchWriter(folder) as batch:
        for one in records:
            batch.write(one)
    return folder


def keys_of(folder: Path, count: int, **changes: Any) -> list[bytes]:
    """The keys that a plan takes from its stock, in their order."""
    plan = Plan.model_validate(
        {"recording": folder, "to": "http://h", "idle_target": True, "allow": ["POST *"], **changes}
    )
    selection = Selection(Capture(folder))
    stock = stocked(plan, selection, Encoder("run", plan.methods, "h", writes=plan.writes), Accounts())
    found: list[bytes] = []
    while len(found) < count and not stock.ended:
        if stock.peek() is not None:
            item = stock.take()
            found.append(key_of(item[1] if isinstance(item, tuple) else item))
    return found


def test_amplified_copies_and_rounds_never_share_a_key(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "recording",
        [
            record(
                i / 10,
                "/pay",
                method="POST",
                headers=[(b"Idempotency-Key", b"%d" % i), (b"Cookie", b"sid=%d" % (i % 8))],
            )
            for i in range(40)
        ],
    )
    cases: list[dict[str, Any]] = [
        {"amplify": "7x"},
        {"amplify": "7x", "sessions": "auto"},
        {"amplify": "3x", "sessions": "auto", "loop": True, "duration": "1h"},
        {"amplify": "3x", "loop": True, "duration": "1h"},
        {"amplify": "1x", "loop": True, "duration": "1h"},
        {"rate": "10/s", "loop": True, "duration": "1h"},
    ]
    for changes in cases:
        found = keys_of(folder, 240, **changes)
        assert len(found) == 240
        assert len(set(found)) == 240
        assert keys_of(folder, 240, **changes) == found


# --- tokens ---


@pytest.mark.parametrize(
    ("text", "value", "field"),
    [
        ("TOKEN", "abc.def", (b"Authorization", b"Bearer abc.def")),
        ("TOKEN", " abc \n", (b"Authorization", b"Bearer abc")),
        ("TOKEN", "Basic dTpw", (b"Authorization", b"Basic dTpw")),
        ("X-Api-Key: TOKEN", "abc def", (b"X-Api-Key", b"abc def")),
        ("authorization: TOKEN", "abc", (b"authorization", b"Bearer abc")),
    ],
)
def test_tokens(text: str, value: str, field: tuple[bytes, bytes]) -> None:
    assert token(text, {"TOKEN": value}) == field


@pytest.mark.parametrize(
    ("text", "value", "part"),
    [
        ("NOTHING", "x", "the environment has no NOTHING, or it is empty"),
        ("TOKEN", " ", "the environment has no TOKEN, or it is empty"),
        ("TOKEN", "hush\r\nX: 1", "the variable holds a line break"),
        ("baggage: TOKEN", "loadtest=hush", "where the load tag stands"),
        ("Host: TOKEN", "hush", "--host says"),
        ("a b: TOKEN", "hush", "no name of a header"),
        ("hush.hush", "x", "write the name of an environment variable"),
        ("hush123", "x", "has no variable of this name"),  # somebody gave the token itself
    ],
)
def test_a_token_that_can_not_be_had_is_told_and_never_shown(text: str, value: str, part: str) -> None:
    with pytest.raises(ValueError, match=part) as error:
        token(text, {"TOKEN": value})
    assert "hush" not in str(error.value)


async def test_the_token_is_sent_and_in_nothing_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "recording", [record(0, headers=[(b"Authorization", b"Bearer recorded")]), record(1)])
    generate(tmp_path, "load")
    given_plan = {
        "recording": tmp_path / "recording",
        "to": "http://h",
        "idle_target": True,
        "key": tmp_path / "load.key",
    }
    plan = Plan.model_validate({**given_plan, "token_from": "SHOP_TOKEN"})
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    with pytest.raises(UserError, match="--token-from: the environment has no SHOP_TOKEN"):
        await prepare(plan)
    monkeypatch.setenv("SHOP_TOKEN", "hush-hush")
    prepared = await prepare(plan)
    encoded = prepared.encoder.encode(record(0, headers=[(b"authorization", b"Bearer recorded")]))
    assert sent(encoded) == {b"Authorization": b"Bearer hush-hush"}
    assert "hush" not in plan.model_dump_json() + repr(plan) + repr(prepared) + repr(prepared.encoder)
    assert "hush" not in repr(Rewriting(((b"Authorization", b"hush"),)))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"token_from": ["A", "B"]}, "authorization is given twice"),
        ({"token_from": ["X-Key: A"], "set_header": ["x-key: 1"]}, "x-key is given twice"),
        ({"set_header": ["Authorization: Bearer x"]}, "--token-from names a variable instead"),
        ({"keep_header": ["a b"]}, "no name of a header"),
        ({"renew_header": ["host"]}, "not taken from the recording"),
    ],
)
def test_plans_that_are_refused(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        Plan.model_validate({"recording": "r", "to": "http://h", "idle_target": True, **changes})


def test_a_header_named_by_the_connection_is_no_key() -> None:
    fields: Headers = ((b"Idempotency-Key", b"k"), (b"connection", b"idempotency-key"))
    request = encode(*fields, method="POST")
    assert sent(request) == {b"Content-Length": b"0"}
    assert isinstance(request, Request)
    assert request.another().prefix == request.prefix
