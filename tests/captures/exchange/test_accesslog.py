import json
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures.errors import CaptureError
from captures.exchange.accesslog import looks_like
from captures.exchange.formats import FORMATS
from captures.exchange.logformats import compiled
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions
from tests.captures.exchange.reading import endless, read
from tests.captures.making import MS, NOON

SECOND = 1000 * MS
COMMON = '10.0.0.1 - bob [21/Nov/2026:13:00:00 +0100] "GET /item/7?full=1 HTTP/1.1" 200 512'


def test_combined() -> None:
    line = f'{COMMON} "https://a.example/?q=\\"x\\"" "Browser \\xc3\\xa4 \\\\o/"\n'
    (one,), notes = read("log", line, authority="shop.example", scheme="https")
    assert (one.method, one.path, one.http_version) == ("GET", "/item/7?full=1", "HTTP/1.1")
    assert (one.scheme, one.authority) == ("https", "shop.example")
    assert (one.arrival_ns, one.status, one.response_size) == (NOON, 200, 512)
    assert one.headers == (
        (b"Host", b"shop.example"),
        (b"Referer", b'https://a.example/?q="x"'),
        (b"User-Agent", "Browser ä \\o/".encode()),
    )
    assert notes.lost == {"duration: the log tells none, it counts as 0": 1}


def test_common_and_vhost_combined_are_known_by_their_looks() -> None:
    (one,), _ = read("log", COMMON + "\n")
    assert (one.authority, one.headers) == ("", ())
    (one,), _ = read("log", f'shop.example:8443 {COMMON} "-" "-"\n')
    assert one.authority == "shop.example:8443"
    (one,), _ = read("log", f'shop.example:443 {COMMON} "-" "-"\n')
    assert one.authority == "shop.example"


def test_what_nginx_and_kubernetes_log_by_default_is_known_by_its_looks() -> None:
    (one,), _ = read("log", f'{COMMON} "-" "Browser" "10.1.1.1"\n')
    assert one.headers == ((b"User-Agent", b"Browser"), (b"X-Forwarded-For", b"10.1.1.1"))
    (one,), notes = read(
        "log",
        f'{COMMON} "-" "Browser" 310 0.250 [shop-web-80] [] 10.0.3.4:8080, [fd00::1]:80 : unix:/tmp/s 0, 0 : 512 '
        "0.100, 0.050 : 0.100 502, 502 : 200 4f2a9d\n",
    )
    assert (one.status, one.duration_ns, one.arrival_ns) == (200, 250 * MS, NOON - 250 * MS)
    assert not notes.lost.keys() - {"host: the file names none (--authority)"}


def test_a_log_that_tells_more_than_is_understood_is_read_and_told() -> None:
    (one,), notes = read("log", f'{COMMON} "-" "Browser" 0.250\n')
    assert (one.path, one.status) == ("/item/7?full=1", 200)
    assert notes.said == ["its lines tell more than format common: give --log-format to have that, too"]
    assert not read("log", f"{COMMON}\n")[1].said


def test_whom_nginx_asked_need_not_be_a_number() -> None:
    form = '[$time_local] "$request" $status $upstream_cache_status "$upstream_addr" $upstream_response_time'
    line = '[21/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 HIT "10.0.0.1:80, 10.0.0.2:80" 0.010, 0.020\n'
    (one,), notes = read("log", line, log_format=form)
    assert (one.duration_ns, notes.bad) == (30 * MS, [])


def test_nginx_tells_the_end_and_the_duration() -> None:
    form = '$remote_addr [$msec] "$request" $status $bytes_sent "$http_x_trace_id" $request_time $upstream_header_time'
    (one,), _ = read("log", '10.0.0.1 [1795262400.750] "POST / HTTP/2.0" 201 5 "abc" 0.500 0.200\n', log_format=form)
    assert (one.arrival_ns, one.duration_ns, one.ttfb_ns) == (NOON + 250 * MS, 500 * MS, 200 * MS)
    assert one.headers == ((b"X-Trace-Id", b"abc"),)


def test_nginx_as_its_configuration_has_it() -> None:
    form = """log_format main escape=default '$remote_addr - $remote_user [$time_local] '
                      '"$request" $status $upstream_response_time $http_host';"""
    (one,), notes = read(
        "log",
        '::1 - - [21/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 0.001, 0.002 : 0.003 a.example:81\n',
        log_format=form,
    )
    assert not notes.bad
    assert (one.duration_ns, one.authority) == (6 * MS, "a.example:81")


@pytest.mark.parametrize(
    ("form", "line", "arrival", "duration"),
    [
        ("%t %D %r", "[21/Nov/2026:12:00:00 +0000] 1500 GET / HTTP/1.0", NOON, 1_500_000),
        ("%{usec}t %{ms}T %r", f"{NOON // 1000 + 7} 3 GET / HTTP/1.0", NOON + 7000, 3 * MS),
        ("%{sec}t.%{msec_frac}t %T %r", "1795262400.123 2 GET / HTTP/1.0", NOON + 123 * MS, 2 * SECOND),
        ("%{end:msec}t %{us}T %r", f"{NOON // MS + 9} 4000 GET / HTTP/1.0", NOON + 5 * MS, 4 * MS),
        ("%{%Y-%m-%d %H:%M:%S %z}t %r", "2026-11-21 12:00:00 +0000 GET / HTTP/1.0", NOON, 0),
        ("%t %m %U%q %H %>s %{Host}i", "[21/Nov/2026:12:00:00 +0000] GET / HTTP/1.0 200 a.example", NOON, 0),
    ],
)
def test_apaches_directives(form: str, line: str, arrival: int, duration: int) -> None:
    if "%U%q" in form:
        with pytest.raises(CaptureError, match="nothing stands between U and q"):
            read("log", line, log_format=form)
        form = form.replace("%U%q", "%U")
    (one,), notes = read("log", line + "\n", log_format=form)
    assert not notes.bad
    assert (one.arrival_ns, one.duration_ns, one.path) == (arrival, duration, "/")


JSON = {
    "nginx": {
        "time_iso8601": "2026-11-21T12:00:00+00:00", "request": "GET /a?b HTTP/1.1", "status": 200,
        "body_bytes_sent": "512", "request_time": "0.250", "http_user_agent": "x", "http_host": "shop.example",
    },
    "nginx with a time in milliseconds": {
        "msec": "1795262400.250", "request_method": "GET", "request_uri": "/a?b", "status": "200",
        "server_protocol": "HTTP/1.1", "bytes": 512, "request_time": 0.25, "user_agent": "x", "host": "shop.example",
    },
    "Caddy": {
        "level": "info", "ts": 1795262400.25, "status": 200, "size": 512, "duration": 0.25,
        "request": {"method": "GET", "host": "shop.example", "uri": "/a?b", "proto": "HTTP/1.1",
                    "headers": {"User-Agent": ["x"]}},
    },
    "Traefik": {
        "StartUTC": "2026-11-21T12:00:00.000000001Z", "RequestMethod": "GET", "RequestHost": "shop.example",
        "RequestPath": "/a?b", "RequestProtocol": "HTTP/1.1", "DownstreamStatus": 200, "DownstreamContentSize": 512,
        "Duration": 250_000_000, "request_User-Agent": "x",
    },
    "Envoy": {
        "start_time": "2026-11-21T12:00:00.000Z", "method": "GET", "authority": "shop.example", "path": "/a?b",
        "protocol": "HTTP/1.1", "response_code": 200, "bytes_sent": 512, "duration": 250, "user_agent": "x",
    },
}  # fmt: skip


@pytest.mark.parametrize("server", JSON)
def test_json_of_many_servers(server: str) -> None:
    line = json.dumps(JSON[server]) + "\n"
    assert looks_like(line.encode())
    (one,), notes = read("log", line)
    assert not notes.bad
    assert (one.method, one.authority, one.path, one.http_version) == ("GET", "shop.example", "/a?b", "HTTP/1.1")
    assert (one.status, one.response_size, one.duration_ns) == (200, 512, 250 * MS)
    assert (b"User-Agent", b"x") in one.headers
    if server != "nginx":  # it tells when they ended, to the second
        assert one.arrival_ns == pytest.approx(NOON, abs=1000)


def test_a_mapping_of_keys() -> None:
    form = '{"begin":"at.ms:ms","method":"verb","target":"url","status":"code","duration":"took:us","header X-A":"a"}'
    line = json.dumps({"at": {"ms": NOON // MS}, "verb": "PUT", "url": "http://a.example/b", "took": 7, "a": "b"})
    (one,), _ = read("log", line + "\n", log_format=form)
    assert (one.arrival_ns, one.method, one.authority, one.path) == (NOON, "PUT", "a.example", "/b")
    assert (one.duration_ns, one.headers) == (7000, ((b"Host", b"a.example"), (b"X-A", b"b")))


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ("nonsense", "is none"),
        ("$status $request_time", "no request"),
        ("%h%r", "nothing stands between"),
        ("%Z %r", "no directive"),
        ('{"tim', "no JSON"),
        ('{"when":"x","target":"y"}', "cannot be mapped"),
        ('{"time":"x"}', "names no request"),
    ],
)
def test_a_format_that_is_none_is_refused(form: str, why: str) -> None:
    with pytest.raises(CaptureError, match=why):
        compiled(form)


def test_a_log_in_an_unknown_format_has_to_be_named() -> None:
    with pytest.raises(CaptureError, match="--log-format"):
        read("log", "2026-11-21 something else\n")


def test_requests_of_a_second_are_spread_over_it_in_their_order() -> None:
    lines = [COMMON.replace("/item/7", f"/{n}").replace("13:00:00", f"13:00:0{n % 2}") for n in range(20)]
    found, _ = read("log", "\n".join(lines))
    arrivals = {one.path.partition("?")[0]: one.arrival_ns - NOON for one in found}
    assert [arrivals[f"/{n}"] for n in range(0, 20, 2)] == [n * 100 * MS for n in range(10)]
    assert [arrivals[f"/{n}"] for n in range(1, 20, 2)] == [SECOND + n * 100 * MS for n in range(10)]
    assert found == read("log", "\n".join(lines))[0]


def test_a_flood_within_one_second_is_not_held_whole() -> None:
    count = 120_000
    reader = FORMATS["log"].read
    assert reader
    line = COMMON.encode() + b"\n"
    file = endless(line, line, len(line) * count)
    arrivals = []
    for number, one in enumerate(reader(file, ReadOptions(iter(())), Notes())):
        if not number:
            assert file.raw.left > 0, "the rest is not read yet"  # type: ignore[attr-defined]
        arrivals.append(one.arrival_ns - NOON)
    assert len(arrivals) == count
    assert arrivals == sorted(arrivals)
    assert (arrivals[0], arrivals[-1] // MS) == (0, 999)


def test_lines_that_are_no_requests_are_told() -> None:
    lines = [
        COMMON,
        COMMON.replace("GET /item/7?full=1 HTTP/1.1", "\\x16\\x03\\x01\\x02"),
        COMMON.replace("GET /item/7?full=1 HTTP/1.1", "-"),
        "what is this",
        COMMON.replace("Nov", "Nev"),
        COMMON.replace(" 200 ", " 2000 "),
        COMMON.replace("GET /item/7?full=1 HTTP/1.1", "GET /a\\nb HTTP/1.1"),
        "x" * (2 << 20),
        COMMON,
    ]
    found, notes = read("log", "\n".join(lines) + "\n")
    assert len(found) == 2
    assert [line.split(":")[0] for line in notes.bad] == [f"line {n}" for n in range(2, 9)]


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0.0034537489342514574", 3_453_748),
        ("1.5733530261687403e-05", 15_733),
        ("5e-7", 500),
        ("2.5E+1", 25 * SECOND),
        ("12e1", 120 * SECOND),
        ("1e-99", 0),
    ],
)
def test_durations_as_programs_print_them(text: str, ns: int) -> None:
    (one,), notes = read(
        "log", f'{{"time": "2026-11-21T12:00:00.000Z", "path": "/", "status": 200, "duration": {text}}}\n'
    )
    assert (one.duration_ns, notes.bad_count) == (ns, 0)


def test_a_number_too_large_to_be_a_duration_is_told() -> None:
    found, notes = read("log", '{"time": "2026-11-21T12:00:00Z", "path": "/", "status": 200, "duration": 9e99}\n')
    assert (found, notes.bad_count) == ([], 1)


def test_zeros_that_a_program_leaves_out_make_no_log_coarse() -> None:
    start = NOON // SECOND
    times = [f"{start + number / 1000:.3f}".rstrip("0").rstrip(".") for number in range(3000)]
    lines = "".join(f'{{"time": {at}, "path": "/", "status": 200, "duration": 0.1}}\n' for at in times)
    _, notes = read("log", lines)
    assert notes.step_ns < 100 * MS
    _, notes = read("log", lines + "".join(lines.splitlines(keepends=True)[::1000]) * 200)
    assert notes.step_ns == SECOND, "a good part of it does count in seconds"


def test_bodies_that_no_log_holds_are_told() -> None:
    _, notes = read("log", COMMON.replace("GET", "POST") + "\n" + COMMON)
    assert notes.lost["bodies of POST, PUT and PATCH: a log holds none"] == 1


@pytest.mark.parametrize(
    "line", ["- " * 100_000, '"' * 300_000, '"\\' * 100_000, "[" * 300_000, '1 1 1 [1] "' + "\\x41" * 70_000]
)
def test_no_line_costs_more_than_its_length(line: str) -> None:
    begun = time.process_time()
    for form in ("combined", '$remote_addr "$request" "$http_a" [$time_local] $upstream_response_time $request_time'):
        _, notes = read("log", line + "\n", log_format=form)
        assert notes.bad_count == 1
    assert time.process_time() - begun < 2


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 999))
@settings(max_examples=100)
def test_every_line_stays_within_its_second(seconds: list[int], ms: int) -> None:
    """Whatever the order of the lines is: none gets lost, and each begins where its end and duration say."""
    form = "$time_iso8601 $request_time $request"
    lines = [f"2026-11-21T12:00:{at:02}+00:00 {ms / 1000:.3f} GET /{n} HTTP/1.1\n" for n, at in enumerate(seconds)]
    found, _ = read("log", "".join(lines), log_format=form)
    assert Counter(one.path for one in found) == Counter(f"/{n}" for n in range(len(seconds)))
    for one in found:
        end = one.arrival_ns + one.duration_ns - NOON
        assert end // SECOND == seconds[int(one.path[1:])]
