"""Rule files: what they say is done, and what is wrong with them is said."""

import gzip
import hashlib
import json
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from captures.errors import CaptureError
from captures.records import Record
from captures.redaction import Redactor, Rules, load_rules
from captures.redaction.encodings import MAX_UNPACKED
from captures.redaction.rules import parse_rules
from tests.captures.making import KEY, record


def by(text: str) -> Redactor:
    return Redactor(KEY, parse_rules(text.encode(), "rules.yaml"))


def post(body: bytes, **headers: str) -> Record:
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return record(method="POST", body=body, body_size=len(body), headers=tuple(given))


def test_a_rule_file_adds_to_what_is_built_in() -> None:
    redactor = by(
        """
        headers: ["x-tenant-*"]
        fields: [nickname, "*-plate"]
        query: [code]
        patterns:
          - {name: staff, regex: 'EMP-\\d{6}'}
        keep:
          cookies: [theme]
          headers: [x-public-key]
          fields: [session-count]
          patterns: [email]
          values: ["4000056655665556"]
        """
    )
    headers = {"x-tenant-name": "acme-1", "x-public-key": "pub-1", "cookie": "theme=dark; sid=sess-1"}
    body = {
        "nickname": "bunny-1",
        "licensePlate": "B-XY 1",
        "password": "hunter2",
        "session_count": 7,
        "note": "EMP-123456 and ann@shop.example pay with 4000056655665556, not 4012888888881881",
    }
    given = post(json.dumps(body).encode(), **headers)._replace(path="/?code=c-1-c&sort=code")
    after = redactor.record(given)
    told = str(after)
    for gone in ("acme-1", "sess-1", "bunny-1", "B-XY 1", "hunter2", "EMP-123456", "4012888888881881", "c-1-c"):
        assert gone not in told
    for kept in ("pub-1", "theme=dark", '"session_count": 7', "ann@shop.example", "4000056655665556", "sort=code"):
        assert kept in told


def test_a_rule_file_can_stand_alone() -> None:
    redactor = by("{extends: nothing, fields: [nickname], patterns: [{name: card}]}")
    given = post(b'{"nickname":"bunny-1","password":"hunter2","n":4012888888881881}', cookie="sid=1", x_api_key="k")
    after = redactor.record(given)
    assert after.headers == given.headers
    assert b"bunny-1" not in after.body
    assert b"hunter2" in after.body
    assert b"4012888888881881" not in after.body


def test_an_empty_file_is_the_rules_built_in() -> None:
    assert parse_rules(b"# nothing\n", "x") == Rules()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("headers:\n- ok\n- '!'\n", "line 3: headers.1: a name pattern needs at least one letter"),
        ("fields: [a]\nfeilds: [b]\n", "line 2: feilds: Extra inputs"),
        ("patterns:\n- name: x\n  regex: '(a'\n", "line 2: patterns.0: missing )"),
        ("patterns:\n- name: x\n  regex: 'a*'\n", "it matches nothing at all"),
        ("patterns:\n- name: x\n  regex: '^a'\n", "no ^ $"),
        ("patterns:\n- name: x\n  regex: '(?<=a)b'\n", "invalid perl operator"),
        ("patterns:\n- name: nosuch\n", "without a regex the name has to be one of private-key"),
        ("keep:\n  patterns: [emial]\n", "line 1: keep: patterns: there is no 'emial'"),
        ("headers: [*token*]\n", "line 1: expected alphabetic or numeric character, but found '*' (put what"),
        ("a: &x [1]\nb: *x\n", "line 1: put what begins with * or & in quotes"),
        ("headers: [a\n", "line 2: "),
        ("- a\n", "it has to be a map"),
        ("extends: everything\n", "line 1: extends: Input should be 'defaults' or 'nothing'"),
        ("headers: [" + "x, " * 600 + "]", "line 1: headers: List should have at most 500"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(CaptureError) as raised:
        parse_rules(text.encode(), "rules.yaml")
    assert str(raised.value).startswith("redaction rules rules.yaml")
    assert said in str(raised.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="No such file"):
        load_rules(tmp_path / "missing.yaml")
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * 70_000)
    with pytest.raises(CaptureError, match="more than 64 KiB"):
        load_rules(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CaptureError, match="not UTF-8"):
        load_rules(path)


def test_large_rules_are_described_by_their_digest() -> None:
    many = Rules(fields=[f"field-number-{n}-{'x' * 40}" for n in range(500)])
    told = Redactor(KEY, many).describe()
    assert len(json.dumps(told)) < 16 << 10
    assert "rules" not in told
    assert told["rules_digest"] != Redactor(KEY).describe()["rules_digest"]
    assert Redactor(KEY, Rules(fields=["abc"])).describe()["rules"] == {"fields": ["abc"]}


# --- what cannot be looked into is not kept ---


@pytest.mark.parametrize(
    ("body", "encoding", "kind"),
    [
        (gzip.compress(b"\0" * (MAX_UNPACKED + 1), mtime=0), "gzip", "application/json"),
        (gzip.compress(b'{"password":"hunter2"}', mtime=0)[:-9], "gzip", "application/json"),
        (b"not compressed at all", "gzip", "application/json"),
        (b"not compressed at all", "br", "application/json"),
        (b"not compressed at all", "zstd", "application/json"),
        (b"x", "compress", "application/json"),
        (b"x", "gzip, gzip, gzip, gzip", "application/json"),
        (b"\x81\xa8password\xa7hunter2", "", "application/msgpack"),
    ],
)
def test_a_body_that_cannot_be_looked_into_is_not_kept(body: bytes, encoding: str, kind: str) -> None:
    redactor = Redactor(KEY)
    headers = {"content-type": kind, "content-length": str(len(body))} | (
        {"content-encoding": encoding} if encoding else {}
    )
    given = post(body, **headers)
    after = redactor.record(given)
    assert (after.body, after.body_size, after.headers) == (b"", len(body), given.headers)
    assert redactor.withheld == 1


def test_a_bomb_of_bombs_costs_little() -> None:
    bomb = gzip.compress(gzip.compress(bytes(200 << 20)))
    began = time.process_time()
    after = Redactor(KEY).record(post(bomb, content_encoding="gzip, gzip"))
    assert after.body == b""
    assert time.process_time() - began < 1


def test_a_compressed_body_that_was_cut_is_not_kept() -> None:
    body = gzip.compress(b'{"a":1}')
    after = Redactor(KEY).record(post(body[:10], content_encoding="gzip")._replace(body_size=len(body)))
    assert (after.body, after.body_size) == (b"", len(body))


def test_a_digest_of_the_body_gives_nothing_away() -> None:
    body = b'{"pin":"4711"}'

    def digests(of: bytes) -> tuple[str, str]:
        return b64encode(hashlib.md5(of).digest()).decode(), b64encode(hashlib.sha256(of).digest()).decode()

    md5, sha = digests(body)
    given = post(body, content_md5=md5, digest=f"SHA-256={sha}", content_digest="sha-999=:abcdef:")
    after = Redactor(KEY).record(given)
    fresh_md5, fresh_sha = digests(after.body)
    headers: dict[bytes, Any] = dict(after.headers)
    assert headers[b"content-md5"].decode() == fresh_md5 != md5
    assert headers[b"digest"].decode() == f"SHA-256={fresh_sha}"
    assert b"abcdef" not in headers[b"content-digest"]
    plain = post(b'{"a":1}', content_md5=md5)
    assert Redactor(KEY).record(plain) is plain


def test_a_length_that_was_wrong_or_missing_is_not_made_up() -> None:
    for headers in ({"content-length": "99"}, {"transfer-encoding": "chunked"}):
        after = Redactor(KEY).record(post(b'{"pin":"4711"}', **headers))
        assert after.headers == post(b"", **headers).headers
        assert after.body_size == len(after.body)


SLOW = {
    "escapes": b'{"a":"%s"}' % (b'\\"' * 30_000),
    "names": b"password=" * 7000,
    "open": b'{"password":[' * 5000,
    "elements": b"<password>" * 6500,
    "tags": b"<password " * 6500,
    "digits": b"4 " * 30_000,
    "ats": b"a@" * 30_000,
    "quotes": b'password="' * 6500,
    "percents": b"%41=%41&" * 8000,
    "packed": b"eyJ" * 20_000,
    "addresses": b"a@b.cc " * 9000,
    "lines": b"x password: y" * 5000,
    "numbers": b"[%s1]" % (b"4000056655665556," * 3800),
    "named": b"[%s1]" % (b'{"name":"password","value":"x"},' * 2000),
    "spaces": b"password" + b" " * 60_000 + b":",
}


@pytest.mark.parametrize("body", SLOW.values(), ids=SLOW.keys())
def test_no_body_takes_long(body: bytes) -> None:
    redactor = Redactor(KEY)
    for item in (post(body), post(body)._replace(body_size=1 << 20)):
        began = time.process_time()
        redactor.record(item)
        assert time.process_time() - began < 1.5
