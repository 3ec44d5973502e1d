"""Every difference between nginx and the lanes, and why it is there. A test holds the table against what happens.

An entry names its cases one by one and pins both outcomes, so it neither covers a new difference nor outlives an old
one. `docs/http-conformance.md` is this table.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.differential.safety import Hazard
from tests.support.lanes import Lane

BOTH: tuple[Lane, ...] = ("fast", "full")
FAST: tuple[Lane, ...] = ("fast",)
FULL: tuple[Lane, ...] = ("full",)


@dataclass(frozen=True)
class Explained:
    """Some cases in which a lane does something else than nginx."""

    group: str
    cases: tuple[str, ...]
    """Names in the group."""
    nginx: str
    ours: str
    """What the client gets: answers, then whether the connection is kept."""
    why: str
    sees: tuple[str, ...] = ()
    """What differs in what the app sees: "requests" for how many."""
    lanes: tuple[Lane, ...] = BOTH

    def names(self) -> Iterator[str]:
        return (f"{self.group}/{case}" for case in self.cases)


@dataclass(frozen=True)
class Exposed:
    """Some cases in which a lane passes on what it had better refuse. Not one may be added without a good reason."""

    group: str
    cases: tuple[str, ...]
    hazards: tuple[Hazard, ...]
    why: str
    lanes: tuple[Lane, ...] = BOTH

    def names(self) -> Iterator[str]:
        return (f"{self.group}/{case}" for case in self.cases)


EXPLAINED = (
    # --- stricter than nginx
    Explained(
        "field",
        (*("no colon", "brackets in the name", "slash in the name", "quote in the name", "high byte in the name"),),
        "200; kept",
        "400; closed",
        "nginx drops a field whose name is none and passes on the rest. What is not a field is refused here.",
        ("requests",),
    ),
    Explained(
        "length",
        ("leading zero", "many leading zeros"),
        "200 x2; kept",
        "400; closed",
        "Numbers with leading zeros have been read as octal before now. No client writes them.",
        ("requests",),
    ),
    Explained(
        "version",
        ("HTTP/1.10",),
        "200; kept",
        "400; closed",
        "A version is one digit, a dot and one digit.",
        ("requests",),
    ),
    Explained(
        "line",
        ("two blanks",),
        "200; kept",
        "400; closed",
        "One blank parts the words of a request line (RFC 9112, 3). nginx skips more of them; not all servers do.",
        ("requests",),
    ),
    Explained("target", ("blanks around",), "200; kept", "400; closed", "The same.", ("requests",)),
    Explained("version", ("HTTP/1.1 and a blank",), "200; kept", "400; closed", "The same.", ("requests",)),
    Explained(
        "line",
        ("a CR first",),
        "200; kept",
        "400; closed",
        "A CR without its LF is refused anywhere in a head; nginx skips it before a request or the end of a field.",
        ("requests",),
    ),
    Explained("field", ("bare CR at the end of the value",), "200; kept", "400; closed", "The same.", ("requests",)),
    Explained("line", ("CR CR LF then smuggled",), "200 x2; kept", "400; closed", "The same.", ("requests",)),
    Explained(
        "field",
        ("vertical tab in the value", "form feed at the ends"),
        "200; kept",
        "400; closed",
        "nginx passes them on; servers that take them for blanks (as Python does) read another value.",
        ("requests",),
    ),
    Explained(
        "target",
        ("absolute query without path", "absolute ftp", "absolute bad port"),
        "200; kept",
        "400; closed",
        "nginx looks only at the path of an absolute target; here it has to be the URL of something over HTTP.",
        ("requests",),
    ),
    Explained(
        "version",
        ("0.9 with a blank", "0.9 then smuggled"),
        "nothing; closed",
        "400; closed",
        "HTTP/0.9 is not spoken; nginx answers it with a body and nothing else.",
        ("requests",),
    ),
    Explained(
        "line",
        ("no blank before the version",),
        "nothing; closed",
        "400; closed",
        "nginx takes it for HTTP/0.9.",
        ("requests",),
    ),
    Explained(
        "chunk",
        (
            *("many leading zeros", "size of 100 digits", "bare LF in an extension", "trailer without colon"),
            *("size too large", "bare LF after the data", "bare LF after the size", "bare LF everywhere"),
            *("trailer with a bare LF", "bare LF at the end", "extension of 10 KiB"),
        ),
        "200; kept",
        "400; closed",
        "A chunked body that is not exactly as RFC 9112 writes it is refused: its borders can't be trusted.",
        ("requests",),
        FAST,
    ),
    Explained(
        "chunk",
        ("bare LF after the size then another",),
        "200 x2; kept",
        "400; closed",
        "The same, and what follows is not looked at.",
        ("requests",),
        FAST,
    ),
    Explained(
        "chunk",
        (
            *("many leading zeros", "size of 100 digits", "bare LF in an extension", "trailer without colon"),
            *("size too large", "bare LF after the data", "bare LF after the size", "bare LF everywhere"),
            "blank before the extension",
        ),
        "200; kept",
        "nothing; closed",
        "The same, without an answer; h11 lets a bare LF end a trailer, but no blank stand before an extension.",
        ("requests",),
        FULL,
    ),
    Explained(
        "chunk",
        ("bare LF after the size then another",),
        "200 x2; kept",
        "nothing; closed",
        "The same.",
        ("requests",),
        FULL,
    ),
    # --- refused by both, in other words
    Explained(
        "chunk",
        (
            *("quoted line end in an extension", "blank before the size", "no size", "size is a word", "plus", "minus"),
            *("hexadecimal mark", "underscore", "NUL in the size", "comma", "size too small", "huge size"),
            *("no line end after the data", "bare CR after the data", "two bytes after the data"),
            *("bare CR after the size", "CR and another byte after the size", "size too small then another"),
        ),
        "400; closed",
        "nothing; closed",
        "mitmproxy ends a connection with a broken body without an answer; the fast lane gives one, like nginx.",
        lanes=FULL,
    ),
    Explained(
        "chunk",
        ("huge size",),
        "400; closed",
        "nothing; closed",
        "All of it is waited for, as long as the client sends.",
        lanes=FAST,
    ),
    Explained(
        "pipeline",
        ("bad chunk second",),
        "200, 400; closed",
        "200; closed",
        "The same, in the second request.",
        lanes=FULL,
    ),
    Explained(
        "line",
        ("bare CR", "CR CR LF", "noise without line end"),
        "400; closed",
        "nothing; closed",
        "A head that has no end yet is waited for; nginx refuses it at its first odd byte.",
    ),
    Explained(
        "protocol",
        ("half an HTTP/2 preface",),
        "400; closed",
        "nothing; closed",
        "The same: nginx knows the preface by its first bytes.",
    ),
    Explained(
        "length",
        ("too short by one",),
        "200, 400; closed",
        "200; closed",
        "The byte too much is the beginning of a head that never ends.",
    ),
    Explained("field", ("200 KiB",), "400; closed", "431; closed", "The status that RFC 6585 has for it."),
    Explained("method", ("CONNECT path",), "405; closed", "400; closed", "nginx knows CONNECT and does not allow it."),
    Explained(
        "coding",
        (
            *("twice in a list", "identity", "identity and length", "gzip", "gzip and length", "chunked, gzip", "cow"),
            *("chunked, identity", "identity, chunked", "xchunked", "chunkedx", "empty", "empty and length"),
            *("only a comma", "comma first", "comma last", "parameter", "quotes", "high byte after"),
            *("non-breaking blank", "a letter that folds to k", "hidden by x, with length"),
        ),
        "501; closed",
        "400; closed",
        "A coding that tells no length is a bad request here, and one that is not implemented for nginx.",
    ),
    Explained(
        "coding",
        ("vertical tab before", "vertical tab after", "form feed", "hidden by a vertical tab, with length"),
        "501; closed",
        "400; closed",
        "For nginx it is another coding; here a head with such characters is refused, whatever they are a part of.",
    ),
    Explained(
        "version",
        ("HTTP/2", "HTTP/2.0", "HTTP/3.0", "HTTP/11.1"),
        "505; closed",
        "400; closed",
        "A version of another protocol is a bad request here.",
    ),
    # --- left to the app
    Explained(
        "method",
        ("get", "gEt", "!#$%&'*+-.^_`|~"),
        "400; closed",
        "200; kept",
        "Any token may be a method, and which ones there are is the app's business; nginx allows capital letters only.",
        ("requests",),
    ),
    Explained(
        "method",
        ("TRACE",),
        "405; closed",
        "200; kept",
        "The same.",
        ("requests",),
    ),
    Explained(
        "target",
        ("dots out of it", "encoded NUL", "bad encoding", "half an encoding", "asterisk", "OPTIONS asterisk"),
        "400; closed",
        "200; kept",
        "nginx decodes the path to find its location; here it is nobody's business but the app's.",
        ("requests",),
    ),
    Explained(
        "host",
        (
            *("missing", "empty", "twice the same", "two", "two dots", "slash", "comma", "blank inside"),
            "missing with an absolute target",
        ),
        "400; closed",
        "200; kept",
        "A sidecar has one app, so it routes nothing by Host, and leaves it to the app to judge.",
        ("requests",),
    ),
    Explained("line", ("only the request line",), "400; closed", "200; kept", "The same: no Host.", ("requests",)),
    Explained(
        "length",
        ("tabs around",),
        "400; closed",
        "200 x2; kept",
        "A tab around a value is a blank by RFC 9110, but not to nginx.",
        ("requests",),
    ),
    Explained(
        "coding",
        ("tab before", "tab after"),
        "501; closed",
        "200 x2; kept",
        "The same.",
        ("requests",),
    ),
    Explained(
        "coding",
        ("gzip, chunked",),
        "501; closed",
        "200 x2; kept",
        "A proxy need not understand what is inside the chunks.",
        ("requests",),
    ),
    Explained(
        "chunk",
        ("bare CR in an extension",),
        "400; closed",
        "200; kept",
        "Extensions are dropped and the body is framed anew.",
        ("requests",),
        FULL,
    ),
    # --- waits longer
    Explained(
        "version",
        ("0.9",),
        "nothing; closed",
        "nothing; silent",
        "HTTP/0.9 is not spoken: this is a head without an end.",
        ("requests",),
    ),
    Explained(
        "chunk",
        ("2^64 + 5", "2^64 + 5 then another"),
        "400; closed",
        "nothing; silent",
        "h11 has no upper bound for a size, so all of the chunk is waited for.",
        lanes=FULL,
    ),
    # --- passed on otherwise
    Explained(
        "version",
        ("HTTP/1.0", "1.0 with body", "1.0 then smuggled", "1.0 without Host"),
        "200; closed",
        "200; closed",
        "The app is told the client's version; nginx speaks its own.",
        ("version",),
    ),
    Explained("version", ("1.0 keep-alive",), "200; kept", "200; kept", "The same.", ("version",)),
    Explained("version", ("1.0 keep-alive twice",), "200 x2; kept", "200 x2; kept", "The same.", ("version",)),
    Explained("pipeline", ("1.0 second",), "200 x2; closed", "200 x2; closed", "The same.", ("version",)),
    Explained(
        "version",
        ("HTTP/1.2", "HTTP/1.9"),
        "200; kept",
        "200; closed",
        "The same, and no version but 1.1 is kept alive without being asked to.",
        ("version",),
    ),
    Explained(
        "expect",
        ("in 1.0",),
        "200; closed",
        "100+200; closed",
        "mitmproxy answers 100 to whoever asks for it.",
        ("version",),
    ),
    Explained(
        "connection",
        ("closed",),
        "200; closed",
        "200; kept",
        "nginx looks for the letters of close anywhere in the field.",
    ),
    Explained(
        "target",
        (
            *("absolute", "absolute other host", "absolute with port", "absolute without path", "absolute capitals"),
            *("absolute https", "absolute IPv6"),
        ),
        "200; kept",
        "200; kept",
        "The app gets the target as the client wrote it; nginx makes a path of it.",
        ("target",),
    ),
    Explained("host", ("other than the absolute target",), "200; kept", "200; kept", "The same.", ("target",)),
    Explained(
        "field",
        ("every token character",),
        "200; kept",
        "200; kept",
        "nginx drops a field with such a name, though it is a valid one.",
        ("fields",),
    ),
    Explained("expect", ("200-ok",), "200; kept", "200; kept", "Only 100-continue is a proxy's business.", ("fields",)),
    Explained(
        "upgrade",
        ("websocket declined", "websocket of a POST"),
        "200; kept",
        "200; kept",
        "WebSocket passes here; nginx has to be configured for it.",
        ("fields",),
    ),
    Explained(
        "upgrade", ("websocket declined then another",), "200 x2; kept", "200 x2; kept", "The same.", ("fields",)
    ),
    Explained("pipeline", ("upgrade second",), "200 x3; kept", "200 x3; kept", "The same.", ("fields",)),
)

EXPOSED = (
    Exposed(
        "chunk",
        ("bare CR in an extension",),
        ("smuggled",),
        "h11 takes a bare CR for a part of the extension. The app gets the body framed anew.",
        FULL,
    ),
)
