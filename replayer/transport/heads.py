"""What the head of an answer says. Pure."""

import re
from typing import NamedTuple, get_args

from rules.wire import WITHHELD_HEADER, Withheld

MAX_HEAD = 65_536
"""Bytes of fields that an answer may have. nginx and Apache stop at a fraction of it."""

HEAD_END = b"\r\n\r\n"

_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})")
GUARDS: dict[bytes, Withheld] = {reason.encode(): reason for reason in get_args(Withheld)}
"""What an answer of the sidecar's own says, in lower case."""

_WITHHELD = re.compile(
    rb"\r\n" + WITHHELD_HEADER.encode() + rb":[ \t]*(" + b"|".join(GUARDS) + rb")[ \t]*\r\n", re.IGNORECASE
)
_CODING = re.compile(rb"\r\ncontent-encoding:[ \t]*([^\r\n]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:", re.IGNORECASE)
_TRANSFER_CODINGS = re.compile(rb"\r\ntransfer-encoding:([^\r\n]*)", re.IGNORECASE)


class Head(NamedTuple):
    """The final answer's head."""

    status: int
    fields: bytes
    """With the status line and the blank line."""

    @property
    def framed(self) -> bool:
        """Whether its fields say where the body ends; else the connection's end does (RFC 9112, 6.3)."""
        codings = b",".join(_TRANSFER_CODINGS.findall(self.fields)).split(b",")
        named = [coding.strip(b" \t").lower() for coding in codings if coding.strip(b" \t")]
        return named[-1:] == [b"chunked"] or _LENGTH.search(self.fields) is not None

    @property
    def coding(self) -> bytes:
        """What it says that the body is packed by."""
        return b", ".join(_CODING.findall(self.fields))

    @property
    def named(self) -> tuple[tuple[bytes, bytes], ...]:
        """Its fields, names in lower case. A line that is no field is left out, and so is what continues one."""
        lines = [line.partition(b":") for line in self.fields.split(b"\r\n")[1:] if line[:1] not in (b" ", b"\t")]
        return tuple((name.lower(), value.strip(b" \t")) for name, colon, value in lines if colon)


def final_head(data: bytes) -> Head | None:
    """Find the final answer's head, after any 1xx; None if it is not whole yet."""
    start = 0
    while (end := data.find(HEAD_END, start)) >= 0:
        fields = data[start : end + len(HEAD_END)]
        status = _STATUS.match(fields)
        if status is None:
            return None
        if int(status[1]) >= 200:
            return Head(int(status[1]), fields)
        start = end + len(HEAD_END)
    return None


def withheld(data: bytes) -> Withheld | None:
    """Tell whether an answer is the sidecar's own, and why."""
    head = final_head(data)
    match = _WITHHELD.search(head.fields) if head else None
    if match is None:
        return None
    return GUARDS[match[1].lower()]
