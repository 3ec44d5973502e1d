"""Headers made to deceive, at the real sidecar: what each was counted as, what the app saw, earned and recorded.

Whatever is done to a tag, the app sees only one that was verified; whatever is done to a message, the app sees exactly
the requests that the sidecar has judged.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from tests.support.abuse import Field, field
from tests.support.lanes import LANES, Lane, flags
from tests.support.origin import certificate

MEMBERS = ",".join(f"k{number}=v" for number in range(64))
"""As much baggage as everybody has to pass on, by number."""
BYTES = ",".join(f"k{number}={'v' * 200}" for number in range(45))
"""More of it than that, by bytes."""

GOOD = "baggage: loadtest=<good>"
HIDDEN = "GET /smuggled HTTP/1.1\r\nHost: shop\r\nbaggage: loadtest=<forged>\r\n\r\n"
UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")


@dataclass(frozen=True)
class Fate:
    """What has to become of one request."""

    status: int
    kind: str
    """As it is counted; empty: not at all, since there was no request yet that could be."""
    seen: str
    """The run that the app sees; ``-``: none; empty: the app sees no request."""
    counts: bool = False
    """Whether it earns credit and is recorded."""


REAL = Fate(200, "real 2xx", "-", counts=True)
SYNTHETIC = Fate(200, "synthetic 2xx", "run-1")
UNTRUSTED = Fate(200, "untrusted 2xx", "-")
DENIED = Fate(403, "untrusted denied", "")
MALFORMED = Fate(400, "", "")
REFUSED = Fate(400, "real error", "")
"""Malformed in what the sidecar finds out only when it has counted it. It earns nothing and is not passed on."""
ANOTHER = Fate(200, "synthetic 2xx", "run-2")
SPOILT = Fate(400, "synthetic error", "")


def get(*lines: str, method: str = "GET", target: str = "", version: str = "HTTP/1.1", body: str = "") -> str:
    """A request whose target is its case's name."""
    return "\r\n".join([f"{method} {target or '<here>'} {version}", "Host: shop", *lines, "", body])


def post(body: str, *lines: str) -> str:
    return get(*lines, method="POST", body=body)


def chunked(body: str, *lines: str) -> str:
    return post(body, "Transfer-Encoding: chunked", *lines)


HTTP1: dict[str, tuple[Fate, str]] = {
    "proper": (SYNTHETIC, get(GOOD)),
    "with-another-run's-name": (SYNTHETIC, get(GOOD, "X-Load-Test: run-2")),
    "forged": (UNTRUSTED, get("baggage: loadtest=<forged>")),
    "unknown-key": (UNTRUSTED, get("baggage: loadtest=<unknown>")),
    "expired": (DENIED, get("baggage: loadtest=<expired>")),
    "expired-in-baggage-of-a-user": (DENIED, get("baggage: user=ann,loadtest=<expired>;p=1,cart=3")),
    # Twice, or in several places.
    "twice": (UNTRUSTED, get(GOOD, GOOD)),
    "forged-and-good": (UNTRUSTED, get("baggage: loadtest=<forged>", GOOD)),
    "good-and-forged": (UNTRUSTED, get(GOOD, "Baggage: loadtest=<forged>")),
    "two-members": (UNTRUSTED, get("baggage: loadtest=<good>,loadtest=<good>")),
    "two-runs": (UNTRUSTED, get("baggage: loadtest=<good>,loadtest=<other>")),
    "forged-in-a-user's-baggage": (UNTRUSTED, get("baggage: user=ann,loadtest=<forged>,cart=3")),
    "another-run's-in-a-user's-baggage": (ANOTHER, get("baggage: user=ann,loadtest=<other>,cart=3")),
    "several-baggage-headers": (SYNTHETIC, get("baggage: a=b", GOOD, "baggage: c=d")),
    "in-one-of-them-disguised": (UNTRUSTED, get("baggage: %6coadtest=<good>", GOOD)),
    "run's-name-alone": (UNTRUSTED, get("x-load-test: run-1")),
    "run's-name-twice": (UNTRUSTED, get(GOOD, "x-load-test: run-1", "X-Load-Test: run-1")),
    "run's-name-with-underscores": (UNTRUSTED, get("x_load_test: run-1")),
    "run's-name-with-one-underscore": (UNTRUSTED, get("X-Load_Test: run-1")),
    # Upper and lower case, encodings, blanks.
    "header-in-mixed-case": (SYNTHETIC, get("BaGGaGe: loadtest=<good>")),
    "member-in-mixed-case": (UNTRUSTED, get("baggage: LoadTest=<good>")),
    "member-encoded": (UNTRUSTED, get("baggage: %6Coadtest=<good>")),
    "member-encoded-whole": (UNTRUSTED, get("baggage: %6c%6F%61%64%74%65%73%74=<good>")),
    "member-encoded-twice": (REAL, get("baggage: %256Coadtest=<good>")),  # decoded once it is another name
    "value-encoded": (UNTRUSTED, get("baggage: loadtest=<good>%20")),
    "malformed-percent-in-value": (UNTRUSTED, get("baggage: loadtest=%zz<good>")),
    "malformed-percent-in-name": (REAL, get("baggage: %loadtest=<good>,%6=x")),  # that is another name
    "tabs": (SYNTHETIC, get("baggage:\tloadtest\t=\t<good>\t;\tp=1")),
    "no-break-space": (UNTRUSTED, get("baggage: \xa0loadtest=<good>")),
    "vertical-tab": (MALFORMED, get("baggage: \x0bloadtest=<good>")),
    "blank-before-colon": (REFUSED, get("baggage : loadtest=<good>")),
    "blank-before-first-field": (MALFORMED, "GET <here> HTTP/1.1\r\n Host: shop\r\nbaggage: loadtest=<good>\r\n\r\n"),
    "folded-value": (MALFORMED, get("baggage: a=b,\r\n loadtest=<good>")),
    "folded-header": (MALFORMED, get("x-a: b\r\n\tbaggage: loadtest=<good>")),
    "nul-in-value": (MALFORMED, get("baggage: \x00loadtest=<good>")),
    "nul-in-name": (MALFORMED, get("bag\x00gage: loadtest=<good>")),
    "cr-in-value": (MALFORMED, get("baggage: a=b,\rloadtest=<good>")),
    "cr-before-header": (MALFORMED, get("x-a: b\rbaggage: loadtest=<good>")),
    "bare-lfs": (SYNTHETIC, "GET <here> HTTP/1.1\nHost: shop\nbaggage: loadtest=<good>\n\n"),
    # Commas, semicolons, properties.
    "with-properties": (SYNTHETIC, get(f"{GOOD};a=b;c")),
    "property-of-another-member": (REAL, get("baggage: a=b;loadtest=<good>")),
    "property-of-none": (REAL, get("baggage: ;loadtest=<good>")),
    "property-and-member": (SYNTHETIC, get("baggage: a=b;loadtest=<forged>,loadtest=<good>")),
    "in-quotes": (UNTRUSTED, get('baggage: a="x,loadtest=<good>"')),
    "empty-members": (SYNTHETIC, get("baggage: ,,loadtest=<good>,,")),
    "empty-value": (UNTRUSTED, get("baggage: loadtest=")),
    "no-value": (UNTRUSTED, get("baggage: loadtest")),
    "other-names": (REAL, get("baggage: loadtests=1,xloadtest=2,load-test=3")),
    # More than baggage may have.
    "64-members-after-it": (SYNTHETIC, get(f"{GOOD},{MEMBERS}")),
    "64-members-before-it": (SYNTHETIC, get(f"baggage: {MEMBERS},loadtest=<good>", "x-load-test: run-1")),
    "128-members-around-it": (SYNTHETIC, get(f"baggage: {MEMBERS},loadtest=<good>,{MEMBERS}", "x-load-test: run-1")),
    "64-headers-before-it": (SYNTHETIC, get(*["baggage: a=b"] * 64, GOOD, "x-load-test: run-1")),
    "8192-bytes-after-it": (SYNTHETIC, get(f"{GOOD},{BYTES}", "x-load-test: run-1")),
    "8192-bytes-before-it": (SYNTHETIC, get(f"baggage: {BYTES},loadtest=<good>", "x-load-test: run-1")),
    "16384-bytes-around-it": (SYNTHETIC, get(f"baggage: {BYTES},loadtest=<good>,{BYTES}", "x-load-test: run-1")),
    "8192-bytes-before-a-forged-one": (UNTRUSTED, get(f"baggage: {BYTES},loadtest=<forged>")),
    "8192-bytes-of-a-user": (REAL, get(f"baggage: {BYTES},{MEMBERS}")),
    "60000-bytes-before-it": (SYNTHETIC, get(*[f"baggage: {BYTES}"] * 6, GOOD)),
    "oversized-token": (UNTRUSTED, get(f"baggage: loadtest={'A' * 9000}")),
    "token-with-something-after-it": (UNTRUSTED, get(f"{GOOD}{'A' * 600}")),
    # Where no header belongs.
    "trailer": (REAL, chunked(f"1\r\nx\r\n0\r\n{GOOD}\r\nx-load-test: run-1\r\n\r\n", "Trailer: baggage")),
    "trailer-after-a-tag": (SYNTHETIC, chunked("1\r\nx\r\n0\r\nbaggage: loadtest=<other>\r\n\r\n", GOOD)),
    "in-the-target": (REAL, get(target="<here>?baggage=loadtest%3D<good>")),
    "named-by-connection": (SYNTHETIC, get("Connection: baggage", GOOD)),
    "named-by-connection-among-others": (SYNTHETIC, get("Connection: keep-alive, Baggage, x-load-test", GOOD)),
    "forged-and-named-by-connection": (UNTRUSTED, get("Connection: baggage", "baggage: loadtest=<forged>")),
    # A second request, hidden in the first.
    "length-and-coding": (REFUSED, post(f"0\r\n\r\n{HIDDEN}", "Content-Length: 4", "Transfer-Encoding: chunked")),
    "coding-and-length": (REFUSED, chunked(f"0\r\n\r\n{HIDDEN}", "Content-Length: 0")),
    "two-lengths": (REFUSED, post(HIDDEN, "Content-Length: 0", "Content-Length: 90")),
    "length-with-a-sign": (REFUSED, post(HIDDEN, "Content-Length: +0")),
    "unknown-coding": (REFUSED, post(f"0\r\n\r\n{HIDDEN}", "Transfer-Encoding: xchunked")),
    "coding-before-a-blank": (REFUSED, post(f"0\r\n\r\n{HIDDEN}", "Transfer-Encoding : chunked", "Content-Length: 5")),
    "body-that-is-a-request": (REAL, post("GET /smuggled HTTP/1.1\r\nHost: shop\r\nb: c\r\n", "Content-Length: 41")),
    # Other ways.
    "upgrade-to-h2c": (REAL, get(*UPGRADE)),
    "upgrade-to-h2c-with-a-tag": (SYNTHETIC, get(*UPGRADE, GOOD)),
    "upgrade-to-websocket-with-a-tag": (SYNTHETIC, get("Connection: Upgrade", "Upgrade: websocket", GOOD)),
    "connect": (REFUSED, "CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\n\r\n"),
    "connect-with-a-tag": (SPOILT, f"CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\n{GOOD}\r\n\r\n"),
    "trace": (REAL, get(method="TRACE")),
    "trace-with-a-tag": (SYNTHETIC, get(GOOD, method="TRACE")),
    "trace-with-a-forged-one": (UNTRUSTED, get("baggage: loadtest=<forged>", method="TRACE")),
    "absolute-target": (SYNTHETIC, get(GOOD, target="http://shop<here>")),
    "http-1.0": (SYNTHETIC, get(GOOD, version="HTTP/1.0")),
    "preface-of-http-2": (MALFORMED, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
}  # fmt: skip
"""Name to what has to become of it and what is sent."""

BASE = {":method": "GET", ":scheme": "https", ":authority": "shop", ":path": "<here>"}
NO_AUTHORITY = [item for item in BASE.items() if item[0] != ":authority"]
TORN = Fate(0, "", "")
"""The connection is ended with an error of the protocol."""


@dataclass(frozen=True)
class Stream:
    """What a client sends on one stream of HTTP/2."""

    fields: list[tuple[str, str]]
    body: str | None = None
    trailers: tuple[tuple[str, str], ...] = ()


def h2(
    *more: tuple[str, str], body: str | None = None, trailers: tuple[tuple[str, str], ...] = (), **changes: str
) -> Stream:
    pseudo = {**BASE, **{f":{name}": value for name, value in changes.items()}}
    return Stream([*pseudo.items(), *more], body, trailers)


TAG = ("baggage", "loadtest=<good>")
HTTP2: dict[str, tuple[Fate, Stream]] = {
    "proper": (SYNTHETIC, h2(TAG)),
    "user": (REAL, h2()),
    "forged": (UNTRUSTED, h2(("baggage", "loadtest=<forged>"))),
    "expired": (DENIED, h2(("baggage", "loadtest=<expired>"))),
    "twice": (UNTRUSTED, h2(TAG, TAG)),
    "run's-name-alone": (UNTRUSTED, h2(("x-load-test", "run-1"))),
    "more-than-it-may-have": (SYNTHETIC, h2(("baggage", f"{BYTES},loadtest=<good>"), ("x-load-test", "run-1"))),
    "header-in-capitals": (TORN, h2(("Baggage", "loadtest=<good>"))),
    "run's-name-in-capitals": (TORN, h2(("X-Load-Test", "run-1"))),
    "header-in-a-value": (TORN, h2(("x-a", "b\r\nbaggage: loadtest=<good>"))),
    "header-in-a-name": (TORN, h2(("x-a: b\r\nbaggage", "loadtest=<good>"))),
    "nul": (TORN, h2(("baggage", "loadtest=<good>\x00"))),
    "blank-before-the-value": (TORN, h2(("baggage", " loadtest=<good>"))),
    "blank-after-the-name": (TORN, h2(("baggage ", "loadtest=<good>"))),
    "colon-after-the-name": (TORN, h2(("baggage:", "loadtest=<good>"))),
    "two-paths": (TORN, h2((":path", "/other"), TAG)),
    "path-after-headers": (TORN, Stream([*list(BASE.items())[:3], TAG, (":path", "<here>")])),
    "unknown-pseudo-header": (TORN, h2((":baggage", "loadtest=<good>"))),
    "no-path": (TORN, Stream([*list(BASE.items())[:3], TAG])),
    "empty-path": (TORN, h2(TAG, path="")),
    "header-in-the-path": (TORN, h2(path="<here> HTTP/1.1\r\nbaggage: loadtest=<good>\r\nx: y")),
    "blank-in-the-path": (TORN, h2(path="/other HTTP/1.0 <here>")),
    "header-in-the-method": (TORN, h2(method="GET / HTTP/1.1\r\nbaggage: loadtest=<good>\r\n\r\nGET")),
    "blank-in-the-method": (TORN, h2(method="GET /other")),
    "header-in-the-authority": (TORN, h2(authority="shop\r\nbaggage: loadtest=<good>")),
    "header-in-the-scheme": (TORN, h2(scheme="https\r\nbaggage: loadtest=<good>")),
    "scheme-of-another-protocol": (TORN, h2(scheme="ftp")),
    "host-beside-another-authority": (TORN, h2(("host", "elsewhere"), TAG)),
    "host-and-no-authority": (SYNTHETIC, Stream([*NO_AUTHORITY, ("host", "shop"), TAG])),
    "coding": (TORN, h2(("transfer-encoding", "chunked"), method="POST", body=f"0\r\n\r\n{HIDDEN}")),
    "length-that-lies": (TORN, h2(("content-length", "0"), method="POST", body=HIDDEN)),
    "length-that-promises": (TORN, h2(("content-length", "1000"), method="POST", body=HIDDEN)),
    "body-that-is-a-request": (REAL, h2(method="POST", body=HIDDEN)),
    "tagged-body-that-is-a-request": (SYNTHETIC, h2(TAG, method="POST", body=HIDDEN)),
    "empty-frame-before-a-body-that-is-a-request": (REAL, h2(method="POST", body=f"|{HIDDEN}")),
    "empty-frames-around-a-request": (REAL, h2(method="POST", body=f"x||{HIDDEN}|")),
    "get-with-a-body-that-is-a-request": (REAL, h2(body=HIDDEN)),
    "trailer": (REAL, h2(method="POST", body="x", trailers=(TAG, ("x-load-test", "run-1")))),
    "trailer-and-no-body": (REAL, h2(method="POST", body="", trailers=(TAG,))),
    "trailer-after-a-tag": (SYNTHETIC, h2(TAG, method="POST", body="x", trailers=(("baggage", "loadtest=<other>"),))),
    "pseudo-header-as-trailer": (TORN, h2(method="POST", body="x", trailers=((":path", "/other"),))),
    "named-by-connection": (TORN, h2(("connection", "baggage"), TAG)),
    "upgrade": (TORN, h2(("connection", "upgrade"), ("upgrade", "h2c"))),
    "connect": (TORN, Stream([(":method", "CONNECT"), (":authority", "shop:80"), TAG])),
    "extended-connect": (TORN, h2((":protocol", "websocket"), TAG, method="CONNECT")),
    "cookies-apart": (SYNTHETIC, h2(("cookie", "a=b"), TAG, ("cookie", "c=d"))),
}  # fmt: skip


@pytest.fixture(scope="module", params=LANES)
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    lane: Lane = request.param
    with field(tmp_path_factory.mktemp(lane), *flags(lane)) as made:
        yield made


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("tls")
    certificate(folder, "127.0.0.1")
    with field(folder, "--tls-certificate", str(folder / "server.pem"), tls=True) as made:
        yield made


def check(at: Field, fates: dict[str, Fate], kinds: dict[str, list[str]], answered: dict[str, int]) -> None:
    """Hold what became of all cases against what had to."""
    seen, passed = at.seen(), [name for name, fate in fates.items() if fate.seen]
    assert answered == {name: fate.status for name, fate in fates.items()}
    assert kinds == {name: [fate.kind] if fate.kind else [] for name, fate in fates.items()}
    # Exactly these requests, each once, with the verified tag or without any.
    assert seen == {name: [fates[name].seen] for name in passed}
    counting = {name for name, fate in fates.items() if fate.counts}
    assert at.recorded() == Counter(counting)
    assert at.earned() == len(counting)


def sent(at: Field, name: str, send: Callable[[], int]) -> tuple[int, list[str]]:
    """Give the answer to a case, and how it was counted. No case is to be refused for want of credit."""
    for _ in range(3):
        with at.case(name) as case:
            status = send()
        if status != 429:  # on a busy machine more than a second may pass, and what was earned has expired
            break
    return status, case.kinds


def test_http_1(plain: Field) -> None:
    kinds, answered = {}, {}
    for name, (_, text) in HTTP1.items():
        answered[name], kinds[name] = sent(plain, name, partial(plain.send, text))
    check(plain, {name: fate for name, (fate, _) in HTTP1.items()}, kinds, answered)


def test_http_2(secured: Field) -> None:
    kinds, answered = {}, {}
    for name, (_, stream) in HTTP2.items():
        send = partial(secured.send_stream, stream.fields, stream.body, stream.trailers)
        answered[name], kinds[name] = sent(secured, name, send)
    check(secured, {name: fate for name, (fate, _) in HTTP2.items()}, kinds, answered)


def test_what_is_added_to_a_pipeline_is_judged_by_itself(plain: Field) -> None:
    """A user's requests before and behind a tagged one stay a user's."""
    with plain.case("pipeline") as case:
        texts = [get(), get(GOOD), get("baggage: loadtest=<forged>"), get("baggage: loadtest=<expired>"), get()]
        assert plain.send_all(texts) == [200, 200, 200, 403, 200]
    assert case.kinds == ["real 2xx", "real 2xx", "synthetic 2xx", "untrusted 2xx", "untrusted denied"]
    assert plain.seen()["pipeline"] == ["-", "run-1", "-", "-"]
