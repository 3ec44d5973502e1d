"""What bytes are that are no segment, or no longer one: strangers, and the ends of torn segments. Pure."""

import re
from codecs import getincrementaldecoder
from typing import Literal, NamedTuple

from captures import codec

_MAGIC = (
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"BZh", "a bzip2 file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\xd4\xc3\xb2\xa1", "a packet capture (pcap)"),
    (b"\xa1\xb2\xc3\xd4", "a packet capture (pcap)"),
    (b"\x0a\x0d\x0d\x0a", "a packet capture (pcapng)"),
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\x7fELF", "a program"),
    (b"age-encryption.org/v1\n", "a file encrypted with age: decrypt it first"),
    (b"-----BEGIN AGE ENCRYPTED FILE-----", "a file encrypted with age: decrypt it first"),
)
_FLOWS = re.compile(rb"\d{1,12}:.*?(?:\d+:version;|\d:type;|\d+:websocket;)", re.DOTALL)
_GOR = re.compile(rb"[123] [0-9a-f]{8,64} \d{10,}")
_IMPORT = "`reamp captures import` reads those"

Kind = Literal["nothing", "block", "broken footer", "cut footer", "zeros", "other"]


class Tail(NamedTuple):
    """What stands after the last whole block of a segment that has no footer that reads."""

    kind: Kind
    words: str


def stranger(start: bytes) -> str:
    """Say what a file that is no segment looks like, by its first bytes: `a gzip file`. Empty if that is unknown."""
    if not start.strip(b"\0"):
        return "nothing but zeros at its start, as a crash of the machine leaves them"
    for magic, what in _MAGIC:
        if start.startswith(magic):
            return what
    if _FLOWS.match(start[:4096]):
        return f"a file of mitmproxy flows: {_IMPORT}"
    if _GOR.match(start):
        return f"a GoReplay file: {_IMPORT}"
    return _text(start)


def _text(start: bytes) -> str:
    head = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:512].lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if head.startswith(b"<"):
        return "XML"
    if head.startswith((b"{", b"[")):
        har = b'"log"' in head and (b'"entries"' in start or b'"creator"' in start)
        return f"a HAR file: {_IMPORT}" if har else "JSON"
    try:
        text = getincrementaldecoder("utf-8")().decode(start[:512])  # it may be cut off within a character
    except UnicodeDecodeError:
        return ""
    return "text" if all(character >= " " or character in "\t\r\n" for character in text) else ""


def tail(start: bytes, length: int, *, led_to: bool) -> Tail:
    """Say what the last `length` bytes of a torn segment are, by the first ones of them.

    `led_to`: the file's last bytes are a trailer that leads here.
    """
    if not length:
        return Tail("nothing", "")
    if led_to:
        return Tail("broken footer", "its footer is broken")
    frame = codec.frame_head(start[: codec.FRAME_HEAD], 0)
    if frame is not None or b"\x96\xcf".startswith(start[:2]):
        whole = f", of {frame.length}" if frame is not None else ""
        return Tail("block", f"{length} bytes of a torn block after it{whole}")
    if start[:1] >= b"\x80" and codec.FOOTER_START.startswith(start[1 : 1 + len(codec.FOOTER_START)]):
        return Tail("cut footer", f"{length} bytes of a torn footer after it")
    if not start.strip(b"\0"):
        return Tail("zeros", f"{length} bytes after it that begin with zeros, as a crash of the machine leaves them")
    return Tail("other", f"{length} bytes after it that are no block")
