"""Taking the tag from carriers of every kind and putting it on them."""

from collections.abc import Iterator
from email.message import Message
from typing import Any

import grpc
import httpx
import pytest
import requests.structures
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from werkzeug.datastructures import Headers

from loadtag import Dark, LoadTag, Served, extract, format_token, inject, injected, keep_inside, serve
from loadtag.headers import MAX_BYTES
from loadtag.propagation import arriving, message_setter

TAG = LoadTag("key", "run-1", 1_800_000_000, "shop")
TOKEN = format_token(TAG, bytes(64))
SERVED = Served(TAG, TOKEN)


def test_nothing_is_put_on_a_carrier_while_something_real_is_served() -> None:
    carrier = {"Baggage": "user=alice"}
    inject(carrier)
    with serve(None):
        inject(carrier)
    assert carrier == {"Baggage": "user=alice"}
    assert extract(carrier) is None


@pytest.mark.parametrize(
    "carrier",
    [
        {},
        [],
        {"Host": "x"},
        {b"host": b"x"},
        [("host", "x")],
        [(b"host", b"x")],
        [("host", b"x")],
        {"BAGGAGE": "user=alice"},
        [("Baggage", b"user=alice"), ("baggage", b"a=b"), ("X-Load-Test", b"run-0")],
        httpx.Headers({"Baggage": "user=alice"}),
        requests.structures.CaseInsensitiveDict({"Baggage": "user=alice"}),
        CIMultiDict([("Baggage", "user=alice"), ("baggage", "a=b")]),
        Headers([("Baggage", "user=alice"), ("baggage", "a=b")]),
        Message(),
        grpc.aio.Metadata(("baggage", "user=alice")),
    ],
)
def test_what_is_put_on_a_carrier_is_found_there_once(carrier: Any) -> None:
    with serve(SERVED):
        inject(carrier)
        inject(carrier)
    plain = not hasattr(carrier, "items") or isinstance(carrier, grpc.aio.Metadata)  # whose items are lists
    pairs = list(carrier if plain else carrier.items())
    text = [tuple(part.decode() if isinstance(part, bytes) else part for part in pair) for pair in pairs]
    values = [value for name, value in text if name.lower() == "baggage"]
    assert len(values) == 1
    assert values[0].endswith(f"loadtest={TOKEN}")
    assert values[0].count("loadtest=") == 1
    assert [value for name, value in text if name.lower() == "x-load-test"] == ["run-1"]
    assert extract(carrier) == SERVED


def test_baggage_that_is_there_stays() -> None:
    carrier = {"Baggage": "user=alice,basket=\u20ac"}
    with serve(SERVED):
        inject(carrier)
    assert carrier == {"baggage": f"user=alice,basket=\u20ac,loadtest={TOKEN}", "x-load-test": "run-1"}


def test_names_and_values_are_written_as_those_that_are_there_or_as_told() -> None:
    with serve(SERVED):
        metadata: list[tuple[bytes, bytes]] = [(b"a", b"b")]
        inject(metadata)
        assert metadata == [(b"a", b"b"), (b"baggage", b"loadtest=" + TOKEN.encode()), (b"x-load-test", b"run-1")]
        kafka: list[tuple[str, bytes]] = []
        inject(kafka, message_setter)
        assert kafka == [("baggage", b"loadtest=" + TOKEN.encode()), ("x-load-test", b"run-1")]


def test_values_that_are_lists_stay_lists() -> None:
    with serve(SERVED):
        carrier = {"a": ["b"], "baggage": ["user=alice", "basket=1"]}
        inject(carrier)
        assert carrier == {"a": ["b"], "baggage": [f"user=alice,basket=1,loadtest={TOKEN}"], "x-load-test": ["run-1"]}
        raw = {b"a": [b"b"]}
        inject(raw)
        assert raw[b"x-load-test"] == [b"run-1"]


def test_what_can_not_be_changed_is_copied() -> None:
    assert injected(None) == []
    assert injected((("a", "b"),)) == [("a", "b")]
    with serve(SERVED):
        assert extract(injected((("a", "b"),))) == SERVED
        assert extract(injected(None)) == SERVED


def test_a_dark_copy_is_passed_on_as_one() -> None:
    carrier = {"baggage": f"user=alice,loadtest={TOKEN}", "x-load-test": "run-1"}
    with serve(Dark("next")):
        inject(carrier)
    assert carrier == {"baggage": "user=alice", "x-reamp-dark": "next"}
    assert extract(carrier) == Dark("next")
    with serve(SERVED):
        inject(carrier)
    assert extract(carrier) == SERVED
    assert "x-reamp-dark" not in carrier


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "\u20ac", "a,b"])
def test_a_broken_dark_mark_is_none(name: str) -> None:
    assert extract({"X-Reamp-Dark": name}) is None
    assert extract([("x-reamp-dark", "a"), ("x-reamp-dark", "a")]) is None


@pytest.fixture
def inside() -> Iterator[None]:
    keep_inside("*.internal")
    yield
    keep_inside()


@pytest.mark.usefixtures("inside")
def test_the_tag_does_not_go_outside() -> None:
    with serve(SERVED):
        carrier: dict[str, str] = {}
        inject(carrier, to="https://api.stripe.com/v1/charges")
        assert carrier == {}
        inject(carrier, to="http://orders.internal:8080/")
        assert extract(carrier) == SERVED
        # An app that passes on what came in does not carry it out either.
        carrier["baggage"] += ",user=alice"
        inject(carrier, to="api.stripe.com")
        assert carrier == {"baggage": "user=alice"}
        pairs = [("baggage", f"loadtest={TOKEN}"), ("X-Load-Test", "run-1"), ("a", "b")]
        inject(pairs, to="api.stripe.com")
        assert pairs == [("a", "b")]
    # Whatever it is, it is not ours to touch while something real is served.
    carrier = {"baggage": f"loadtest={TOKEN}"}
    inject(carrier, to="api.stripe.com")
    assert extract(carrier) == SERVED


class Sealed:
    """A carrier that raises whatever is done to it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # pytest asks for a name
            raise AttributeError(name)
        raise RuntimeError(name)

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError


@pytest.mark.parametrize(
    "carrier",
    [
        None,
        5,
        Sealed(),
        object(),
        [1, 2],
        [()],
        [("a",)],
        {1: 2},
        {"baggage": 3},
        {"baggage": [None, 5]},
        (("a", "b"),),
        "text",
    ],
)
def test_no_carrier_however_strange_raises(carrier: Any) -> None:
    assert extract(carrier) is None
    with serve(SERVED):
        inject(carrier)
        inject(carrier, to="\x00")


@pytest.mark.parametrize(
    "value", ["loadtest=rubbish", "LoadTest=" + TOKEN, f"loadtest={TOKEN},loadtest={TOKEN}", "loadtest", ""]
)
def test_a_broken_tag_is_no_tag(value: str) -> None:
    assert extract({"baggage": value}) is None
    assert extract({"x-load-test": value}) is None


def test_values_may_be_lists() -> None:
    assert extract({"Baggage": [b"user=alice", f"loadtest={TOKEN}"]}) == SERVED


class Environment:
    """A getter and setter of one's own, in OpenTelemetry's shape: the environment of a process."""

    def get(self, carrier: dict[str, str], key: str) -> list[str] | None:
        value = carrier.get(key.upper().replace("-", "_"))
        return None if value is None else [value]

    def set(self, carrier: dict[str, str], key: str, value: str) -> None:
        carrier[key.upper().replace("-", "_")] = value


@pytest.mark.usefixtures("inside")
def test_getters_and_setters_of_ones_own() -> None:
    carrier = {"BAGGAGE": "user=alice"}
    with serve(SERVED):
        inject(carrier, Environment(), Environment())
        assert carrier == {"BAGGAGE": f"user=alice,loadtest={TOKEN}", "X_LOAD_TEST": "run-1"}
        assert extract(carrier, Environment()) == SERVED
        inject(carrier, Environment(), Environment(), to="elsewhere.com")
        assert carrier == {"BAGGAGE": "user=alice", "X_LOAD_TEST": ""}


members = st.lists(st.text(st.characters(exclude_characters=",", codec="utf-8"), max_size=40), max_size=80)


@given(members, st.sampled_from(["baggage", "Baggage"]))
def test_whatever_baggage_is_there_the_tag_arrives_within_the_limits(members: list[str], name: str) -> None:
    carrier = {name: ",".join(members)}
    with serve(SERVED):
        inject(carrier)
    assert extract(carrier) == SERVED
    assert len(carrier["baggage"].encode()) <= MAX_BYTES
    assert carrier["baggage"].count(",") < 64


@given(
    st.one_of(
        st.dictionaries(st.text() | st.binary(), st.text() | st.binary() | st.none() | st.integers()),
        st.lists(st.tuples(st.text() | st.binary(), st.text() | st.binary() | st.none())),
    )
)
def test_the_tag_arrives_in_whatever_company(carrier: Any) -> None:
    with serve(SERVED):
        inject(carrier)
    assert extract(carrier) == SERVED


def test_raw_fields_of_a_request() -> None:
    assert arriving([]) is None
    assert arriving([(b"host", b"x"), (b"baggage", b"user=alice"), (b"content-type", b"a/b")]) is None
    assert arriving([(b"host", b"x"), (b"baggage", b"loadtest=" + TOKEN.encode())]) == SERVED
    assert arriving([(b"x-reamp-dark", b"next"), (b"baggage", b"loadtest=" + TOKEN.encode())]) == SERVED
    strange: Any = [("baggage", "loadtest=" + TOKEN)]  # text is no bytes
    assert arriving(strange) is None
    assert arriving([(b"X-Reamp-Dark", b"next"), (b"baggage", b"user=alice")]) == Dark("next")
