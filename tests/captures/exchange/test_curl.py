import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures.exchange.shell import split
from captures.records import Record
from captures.rendering import as_curl
from tests.captures.exchange.reading import read
from tests.captures.making import MS, NOON, record


def one_of(command: str) -> Record:
    (made,), notes = read("curl", command)
    assert not notes.bad
    return made


def test_as_a_browser_copies_it() -> None:
    made = one_of("""
# from the developer tools
curl 'https://shop.example/api/cart?x=1' \\
  -X 'POST' \\
  -H 'accept: application/json' \\
  -H $'x-odd: it\\'s \\u00e4' \\
  -b 'sid=abc; theme=dark' \\
  --data-raw $'{"a":"b\\nc"}' --compressed --insecure
""")
    assert (made.method, made.scheme, made.authority, made.path) == ("POST", "https", "shop.example", "/api/cart?x=1")
    assert made.body == b'{"a":"b\nc"}'
    assert made.headers == (
        (b"Host", b"shop.example"),
        (b"User-Agent", b"curl"),
        (b"Accept-Encoding", b"gzip"),
        (b"Cookie", b"sid=abc; theme=dark"),
        (b"Content-Length", b"11"),
        (b"Content-Type", b"application/x-www-form-urlencoded"),
        (b"accept", b"application/json"),
        (b"x-odd", "it's ä".encode()),
    )


@pytest.mark.parametrize(
    ("command", "method", "path", "body"),
    [
        ("curl a.example", "GET", "/", b""),
        ("curl -I http://a.example/x#top", "HEAD", "/x", b""),
        ("curl -d a=b -d c http://a.example/", "POST", "/", b"a=b&c"),
        ("curl -sSXPUT -da=b http://a.example/", "PUT", "/", b"a=b"),
        ("curl -G -d a=b --data-urlencode 'q=ä b&' 'http://a.example/?x'", "GET", "/?x&a=b&q=%C3%A4+b%26", b""),
        ("curl --json '{}' --url http://a.example/", "POST", "/", b"{}"),
        ("curl --data-raw @x http://a.example/", "POST", "/", b"@x"),
        ("$ curl http://a.example/ ;", "GET", "/", b""),
        ("/usr/bin/curl http://a.example/a\\ b -o /dev/null -m 5", "GET", "/a b", b""),
        ('curl "http://a.example/\\"$"', "GET", '/"$', b""),
    ],
)
def test_what_options_make_of_a_request(command: str, method: str, path: str, body: bytes) -> None:
    made = one_of(command)
    assert (made.method, made.path, made.body, made.body_size) == (method, path, body, len(body))


def test_headers_that_curl_adds_and_leaves_out() -> None:
    made = one_of(
        "curl -u user:pw -A agent -e http://r.example -r 0-9 -H 'Accept:' -H 'X-Empty;' -H 'Host: other' http://a.example"
    )
    assert made.authority == "other"
    assert dict(made.headers) == {
        b"User-Agent": b"agent",
        b"Referer": b"http://r.example",
        b"Authorization": b"Basic dXNlcjpwdw==",
        b"Range": b"bytes=0-9",
        b"X-Empty": b"",
        b"Host": b"other",
    }


def test_forms() -> None:
    made = one_of("curl -F a=b -F 'c=p;type=text/html' --form-string 'd=@e' http://a.example/")
    assert made.method == "POST"
    assert b'name="a"\r\n\r\nb\r\n' in made.body
    assert b'name="d"\r\n\r\n@e\r\n' in made.body
    assert dict(made.headers)[b"Content-Type"].startswith(b"multipart/form-data; boundary=")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("curl -d @file http://a.example", "needs a file"),
        ("curl -F a=@file http://a.example", "needs a file"),
        ("curl -H @file http://a.example", "needs a file"),
        ("curl -b jar.txt http://a.example", "needs a file"),
        ("curl --data-urlencode a@file http://a.example", "needs a file"),
        ("curl -T file http://a.example", "-T is an option that is not known"),
        ("curl --frobnicate http://a.example", "--frobnicate is an option that is not known"),
        ("curl http://a.example | sh", "more than one curl command"),
        ("curl $(id) http://a.example", "more than one curl command"),
        ("curl $HOST", "more than one curl command"),
        ("curl `id`", "more than one curl command"),
        ("curl http://a.example -X", "-X needs a value"),
        ("curl ftp://a.example", "no URL with http"),
        ("curl", "names no URL"),
        ("wget http://a.example", "no curl command"),
        ("curl 'http://a.example", "does not end"),
    ],
)
def test_what_is_not_understood_is_told(command: str, why: str) -> None:
    found, notes = read("curl", command + "\n")
    assert not found
    assert why in notes.bad[0]


def test_commands_of_one_file_are_told_apart() -> None:
    text = """#!/bin/bash
curl http://a.example/1

curl \\
  http://a.example/2
curl -T x
curl -d 'a

b' http://a.example/3 http://a.example/4"""
    found, notes = read("curl", text)
    assert [(one.path, (one.arrival_ns - NOON) // MS) for one in found] == [
        ("/1", 0),
        ("/2", 100),
        ("/3", 200),
        ("/4", 300),
    ]
    assert found[2].body == b"a\n\nb"
    assert notes.bad[0].startswith("line 6: ")


def test_options_about_sending_are_told() -> None:
    _, notes = read("curl", "curl -x proxy:3128 -m 5 http://a.example")
    assert set(notes.lost) == {
        "curl's -x: it is about sending, not about what is sent",
        "curl's -m: it is about sending, not about what is sent",
    }


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), max_size=5))
@settings(max_examples=200)
def test_words_are_cut_as_a_shell_does(words: list[str]) -> None:
    quoted = ["'" + word.replace("'", "'\\''") + "'" for word in words]
    assert split(" ".join(quoted)) == words


def test_show_makes_no_command_that_reads_a_file() -> None:
    asked = record(method="POST", body=b"@/etc/passwd", body_size=12)
    assert one_of(as_curl(asked)).body == b"@/etc/passwd"


_texts = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1, max_size=9)


@given(
    st.sampled_from(["GET", "POST", "PATCH"]),
    st.lists(st.tuples(st.sampled_from([b"X-A", b"Cookie", b"Referer"]), _texts.map(str.encode)), max_size=3),
    st.binary(max_size=20).filter(lambda body: b"\0" not in body),
)
@settings(max_examples=200)
def test_what_show_prints_reads_as_the_same_request(method: str, rows: list[tuple[bytes, bytes]], body: bytes) -> None:
    asked = record(method=method, headers=((b"Host", b"shop.example"), *rows), body=body, body_size=len(body))
    made = one_of(as_curl(asked))
    assert (made.method, made.scheme, made.authority, made.path) == (method, "http", "shop.example", asked.path)
    assert made.body == body
    added = {b"user-agent", b"accept", b"content-length", b"content-type"}
    assert [row for row in made.headers if row[0].lower() not in added or row in rows] == list(asked.headers)


class Recorder(BaseHTTPRequestHandler):
    seen: list[Record]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        rows = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items())
        self.seen.append(record(method=self.command, path=self.path, headers=rows, body=body, body_size=len(body)))
        self.send_response(204)
        self.end_headers()

    do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[Record]]]:
    handler = type("Fresh", (Recorder,), {"seen": []})
    made = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{made.server_port}", handler.seen  # type: ignore[attr-defined]
    made.shutdown()
    made.server_close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: nothing to compare with")
@pytest.mark.parametrize(
    "options",
    [
        "",
        "-d a=b -d c=d",
        "-G -d a=b --data-urlencode 'q=ä b&c'",
        "--json '{\"a\": 1}' -H 'Accept: x/y'",
        "-I -A agent",
        "-u user:pw -e http://r.example/ -r 0-9 -b 'a=b; c=d'",
        "-X PUT --data-binary $'a\\nb\\x01' -H 'Content-Type: text/plain' -H 'Accept:' -H 'X-Empty;'",
        "--url-query 'x=1' -d y=2",
    ],
)
def test_curl_itself_sends_what_was_understood(options: str, server: tuple[str, list[Record]]) -> None:
    where, seen = server
    command = f"curl -s {options} 'http://{where}/path?x'"
    done = subprocess.run(["bash", "-c", f"{command} -m 10"], capture_output=True, text=True, check=False)
    if done.returncode == 2:
        pytest.skip(f"this curl is too old for it: {done.stderr}")
    made = one_of(command)
    (sent,) = seen
    # Versions of curl differ in how they spell %C3 and a blank.
    assert made.path.lower() == sent.path.lower().replace("%20", "+")
    assert (made.method, made.body) == (sent.method, sent.body)
    agents = {(b"User-Agent", value) for name, value in sent.headers if name == b"User-Agent" and b"curl/" in value}
    ours = {(b"User-Agent", b"curl")} if agents else set()
    assert set(made.headers) - ours == set(sent.headers) - agents
