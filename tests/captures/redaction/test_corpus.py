"""Nasty cases, as data: what must go is gone in every decoding, what must stay has stayed, and it parses as before."""

import base64
import email
import gzip
import html
import json
import re
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli
import pytest
import yaml
import zstandard

from captures.audit import Hunter
from captures.records import Record
from captures.redaction import Redactor
from tests.captures.making import KEY, record

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "corpus.yaml").read_text())

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: gzip.compress(body, mtime=0),
    "deflate": __import__("zlib").compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": __import__("zlib").decompress,
    "br": brotli.decompress,
    "zstd": zstandard.decompress,
}


def made(case: dict[str, Any]) -> Record:
    """The request of a case."""
    text = case.get("body", "")
    if "repeat" in case:
        text = text * case["repeat"] + case["then"] + "}" * case["repeat"]
    charset = case.get("charset", "utf-8")
    body = base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode(charset)
    headers = [(name.encode(), value.encode()) for name, value in case.get("headers", {}).items()]
    encodings = [name.strip() for name in case.get("encoding", "").split(",") if name.strip()]
    for name in encodings:
        body = PACK[name](body)
    if encodings:
        headers.append((b"Content-Encoding", case["encoding"].encode()))
    if "type" in case:
        headers.append((b"Content-Type", case["type"].encode()))
    size = case.get("cut", len(body))
    if body:
        headers.append((b"Content-Length", b"%d" % size))
    path = case.get("path", "/")
    return record(method="POST", path=path, headers=tuple(headers), body=body, body_size=size)


def body_of(case: dict[str, Any], item: Record) -> str:
    body = item.body
    for name in reversed([name.strip() for name in case.get("encoding", "").split(",") if name.strip()]):
        body = UNPACK[name](body)
    return body.decode(case.get("charset", "utf-8"))


def decodings(text: str) -> list[str]:
    """A text in all the ways in which somebody could read it."""
    found = {text}
    for _ in range(3):
        for one in list(found):
            found.add(urllib.parse.unquote(one))
            found.add(urllib.parse.unquote_plus(one))
            found.add(html.unescape(one))
            found.add(re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), one))
            found.add(re.sub(r"\\(.)", r"\1", one))
            for packed in re.findall(r"[A-Za-z0-9+/_-]{12,}={0,2}", one):
                bare = packed.rstrip("=").replace("-", "+").replace("_", "/")
                raw = base64.b64decode(bare[: len(bare) // 4 * 4])
                found.add(raw.decode("latin-1"))
    return list(found)


def all_of(case: dict[str, Any], item: Record) -> str:
    return "\n".join(
        [item.path, *(value.decode("latin-1") for _, value in item.headers), body_of(case, item) if item.body else ""]
    )


class Pairs(tuple[Any, ...]):
    """An object, with its keys as often as they are there."""

    __slots__ = ()


def shape(value: Any) -> Any:
    """What of a JSON value has to stay: all but strings and numbers (and keys that are addresses)."""
    if isinstance(value, Pairs):
        return [("address" if "@" in name else name, shape(one)) for name, one in value]
    if isinstance(value, list):
        return [shape(one) for one in value]
    if isinstance(value, bool) or value is None:
        return value
    return "text" if isinstance(value, str) else "number"


def pairs(text: str) -> Any:
    return shape(json.loads(text, object_pairs_hook=Pairs))


def parsed(how: str, text: str, kind: str) -> Any:
    if how == "json":
        return pairs(text)
    if how == "lines":
        return [pairs(line) for line in text.splitlines()]
    if how == "form":
        return [name for name, _ in urllib.parse.parse_qsl(text, keep_blank_values=True, strict_parsing=True)]
    if how == "multipart":
        message = email.message_from_string(f"Content-Type: {kind}\r\n\r\n{text}")
        assert message.is_multipart()
        return [part.get_param("name", header="content-disposition") for part in message.walk()]
    return None


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    before = made(case)
    redactor = Redactor(KEY)
    after = redactor.record(before)
    if case.get("same"):
        assert after is before
        assert Hunter().look(before) == []
        return
    for text in decodings(all_of(case, after)):
        for secret in case["secrets"]:
            assert secret not in text
    for kept in case["kept"]:
        assert kept in all_of(case, after)
    if "parse" in case:
        how, kind = case["parse"], case.get("type", "")
        assert parsed(how, body_of(case, after), kind) == parsed(how, body_of(case, before), kind)
    length = dict(after.headers).get(b"Content-Length")
    if "cut" in case:
        assert len(after.body) < after.body_size
    elif before.body:
        assert after.body_size == len(after.body)
    assert length is None or int(length) == after.body_size
    # Once more changes nothing, and the audit finds it before and not after.
    assert redactor.record(after) == after
    assert Hunter().look(before) or case.get("unseen")
    assert Hunter().look(after) == []
    assert redactor.withheld == 0


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES) > 70
