"""A record as people read it: HTTP, or a curl command. Pure.

What was recorded came from strangers, so nothing of it reaches a terminal as a control sequence.
"""

from base64 import b64encode

from captures.moments import iso
from captures.records import Record
from captures.unpacking import unpacked

_SHOWN = 8192
_UNPACKED = 1 << 20
_HEX_SHOWN = 512


def printable(text: str, keep: str = "") -> str:
    """Escape what does not print: control characters, bidirectional marks, bytes that were no UTF-8."""
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def as_http(record: Record) -> str:
    """Show the request as HTTP and the answer in a line."""
    lines = [f"# {iso(record.arrival_ns)}  {printable(f'{record.scheme}://{record.authority}')}"]
    lines.append(printable(f"{record.method} {record.path} {record.http_version}"))
    lines.extend(f"{printable(_text(name))}: {printable(_text(value))}" for name, value in record.headers)
    lines.append("")
    if record.body:
        body = unpacked(record, _UNPACKED)
        if body is not record.body:
            at_least = "at least " if len(body) >= _UNPACKED else ""
            lines.append(f"# {len(record.body)} bytes unpacked to {at_least}{len(body)}:")
        lines.append(_body(body))
    if record.body_size > len(record.body):
        lines.append(f"# {len(record.body)} of {record.body_size} bytes of the body were kept")
    lines.append(_answer(record))
    return "\n".join(lines)


def as_line(record: Record) -> str:
    """Show a record in one line: when, what, and what became of it."""
    url = printable(f"{record.scheme}://{record.authority}{record.path}")
    sent = f" +{record.body_size}B" if record.body_size else ""
    if record.unknown:
        return f"{iso(record.arrival_ns)} {printable(record.method)} {url}{sent} -> not known"
    answer = f"{record.status} {record.response_size}B" if record.status else "no answer"
    took = f"{record.duration_ns / 1e6:.3f}ms"
    return f"{iso(record.arrival_ns)} {printable(record.method)} {url}{sent} -> {answer} {took}"


def as_curl(record: Record) -> str:
    """Give a command for bash that sends the request again (with pseudonyms where secrets were)."""
    url = f"{record.scheme}://{record.authority}{record.path}"
    words = ["curl", "-sS", "-i", "-X", _quoted(record.method.encode("utf-8", "surrogateescape"))]
    if record.method == "HEAD":
        words[3:] = ["-I"]
    for name, value in record.headers:
        if name.lower() not in {b"content-length", b"transfer-encoding", b"connection"}:
            words += ["-H", _quoted(name + (b": " + value if value else b";"))]
    before = ""
    if record.body and b"\0" in record.body:
        before = f"base64 -d <<< {b64encode(record.body).decode()} | "
        words += ["--data-binary", "@-"]
    elif record.body:
        # An @ in front would make curl send a file of whoever runs this.
        words += ["--data-raw" if record.body[:1] == b"@" else "--data-binary", _quoted(record.body)]
    return before + " ".join([*words, "--globoff", "--path-as-is", _quoted(url.encode("utf-8", "surrogateescape"))])


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _body(body: bytes) -> str:
    try:
        text = body[:_SHOWN].decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        more = f"\n# and {len(body) - _SHOWN} bytes more" if len(body) > _SHOWN else ""
        return printable(text, keep="\n\t") + more
    rows = (body[at : at + 16] for at in range(0, min(len(body), _HEX_SHOWN), 16))
    dump = [f"{at * 16:06x}  {row.hex(' '):<47}  {_ascii(row)}" for at, row in enumerate(rows)]
    if len(body) > _HEX_SHOWN:
        dump.append(f"# and {len(body) - _HEX_SHOWN} bytes more")
    return "\n".join(dump)


def _ascii(row: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)


def _answer(record: Record) -> str:
    took = f"{record.duration_ns / 1e6:.3f} ms"
    if record.unknown:
        return "# its answer is not known"
    if not record.status:
        return f"# no answer after {took}"
    first = f"first byte after {record.ttfb_ns / 1e6:.3f} ms" if record.ttfb_ns >= 0 else "no byte of it"
    return f"# answered {record.status}, {record.response_size} bytes, {first}, all after {took}"


def _quoted(value: bytes) -> str:
    """Quote for bash, with every byte that does not print written as an escape."""
    if all(0x20 <= byte < 0x7F and byte != 0x27 for byte in value):
        return f"'{value.decode()}'"
    parts = (chr(b) if 0x20 <= b < 0x7F and b not in b"'\\" else f"\\x{b:02x}" for b in value)
    return "$'" + "".join(parts) + "'"
