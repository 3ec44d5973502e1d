"""A record becomes the bytes to send, or a reason why it must not be sent. Pure.

A request is encoded once, when it is read ahead, and not when it is due. Only the token of its load tag is put in at
the moment of sending, because tokens are renewed: ``request.prefix + tag + request.tail``.

What becomes of each field is in the table of docs/replay.md. What the user wants changed (`rewriting`) is decided by
the name of a field or by a path, and remembered: a plan without it costs nothing, one with it little.
"""

import re
from collections.abc import Callable, Container, Sequence
from typing import Literal

import loadtag.headers
from captures.records import Headers, Record
from replayer.comparing.routes import Outline, Routes, outline
from replayer.plugins import Refusal
from replayer.requests.fields import OPTIONS, Kind, leaves_http, listed, takes_trailers
from replayer.requests.renewal import renewed
from replayer.requests.rewriting import Rewriting
from replayer.requests.writes import READING, Writes

Skip = Literal["tagged", "unsafe", "connect", "upgrade", "truncated", "malformed", "rewrite", Refusal]
"""Why a record is not sent. `rewrite`: what the rules for paths make of its path can't be sent."""

AS_RECORDED = Rewriting()
NO_WRITES = Writes()

SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
"""May be sent twice without harm (RFC 9110, 9.2.1), so a lost one may be sent again."""

_TARGET = re.compile(r"/[^\x00-\x20\x7f]*|\*")
_AUTHORITY = re.compile(r"[^\x00-\x20\x7f/]*")
_TOKEN_LENGTH = 300
"""A token of the longest fields has 297 characters."""
_Spliced = tuple[bytes, bytes]
"""What comes before the token (from the end of the line above, one line break) and after it (to the blank line)."""
_KNOWN_NAMES = 4096
"""Names of fields whose kind is remembered. A recording has some dozens; one made by an attacker may have more."""

_KNOWN_LINES, _KNOWN_LINE = 8192, 1024
"""So many fields are remembered with their lines, none longer than so many bytes: some 8 MiB at most."""


# Looked up once: every field of every record is asked.
_KEEP, _DROP, _COOKIE, _OVERRIDE = Kind.KEEP, Kind.DROP, Kind.COOKIE, Kind.OVERRIDE
_CONNECTION, _RENEW, _RENEW_IN_WRITES = Kind.CONNECTION, Kind.RENEW, Kind.RENEW_IN_WRITES


class Request:
    """A request ready to be sent, but for its token. Sent again as it is only if it has no `keys`: see `another`."""

    __slots__ = ("head", "keys", "lot", "prefix", "recorded", "route", "safe", "tail", "trailers")

    def __init__(
        self,
        prefix: bytes,
        tail: bytes,
        method: str,
        route: int = 0,
        recorded: Outline | None = None,
        keys: "Keys | None" = None,
    ) -> None:
        self.prefix = prefix
        self.keys = keys
        self.tail = tail
        self.route = route  # its number in `comparing.routes.Routes`
        self.recorded = recorded  # what became of it when it was recorded
        self.lot: int | None = None  # requests with the same number leave in order, if there is one
        self.head = method == "HEAD"  # its answer has no body, whatever the fields say
        self.safe = method in SAFE
        self.trailers = False  # whether the client said that it understands trailers; only HTTP/2 passes that on

    def __len__(self) -> int:
        """Tell the bytes it holds."""
        return len(self.prefix) + len(self.tail)

    def another(self) -> "Request":
        """Give another copy to send, with idempotency keys of its own: the same request if it has none."""
        if self.keys is None:
            return self
        copy = object.__new__(type(self))
        for slot in self.__slots__:
            setattr(copy, slot, getattr(self, slot))
        copy.prefix = self.keys.put(self.prefix)
        copy.keys = None
        return copy


class Keys:
    """The idempotency keys of a record, and how often they were given out."""

    __slots__ = ("_copies", "_fields", "_round", "_run_id")

    def __init__(self, run_id: str, round_: int, fields: list[tuple[bytes, bytes]]) -> None:
        self._run_id = run_id
        self._round = round_
        self._fields = fields  # name and recorded value
        self._copies = 0

    def line(self, name: bytes, recorded: bytes, copy: int) -> bytes:
        """Give the line of a key."""
        return name + b": " + renewed(recorded, self._run_id, self._round, copy)

    def put(self, prefix: bytes) -> bytes:
        """Give the start of a request, which has the keys of the first copy, with those of the next one."""
        self._copies += 1
        for name, recorded in self._fields:
            first, own = (self.line(name, recorded, copy) for copy in (0, self._copies))
            prefix = prefix.replace(b"\r\n" + first + b"\r\n", b"\r\n" + own + b"\r\n", 1)
        return prefix


class Encoder:
    """Encodes the records of one run."""

    hooked = False
    """Whether a plugin is asked about every record, so that nothing but `encode` can tell what becomes of it."""

    def __init__(
        self,
        run_id: str,
        methods: Container[str],
        host: str,
        recorded_host: bool = False,
        rewriting: Rewriting = AS_RECORDED,
        writes: Writes = NO_WRITES,
    ) -> None:
        """Send what has one of these `methods`, or is allowed by `writes`.

        `host` goes into `Host`; with `recorded_host` only where none was recorded.
        """
        self.routes = Routes()
        self.left_out = Routes()
        """What may not be sent because it changes things, by route."""
        self.offer: Callable[[Request], None] | None = None
        """Who wants to see every request that is made."""
        self.round = 0
        """How often the recording was read to its end: a key is new in every round."""
        self._rewriting = rewriting
        self._new_path = rewriting.path if rewriting.paths else None
        self._drops_baggage = rewriting.drops(b"baggage")
        self._run_id = run_id
        self._methods = methods
        self._writes = writes
        self._host = host
        self._recorded_host = recorded_host
        # Stands for the token while a request is encoded. Nothing recorded can hold it: it names this run.
        self._place = run_id.ljust(_TOKEN_LENGTH, ".")
        self._kinds: dict[bytes, Kind] = {}
        self._known: dict[tuple[bytes, bytes], bytes] = {}
        self._authorities: set[str] = set()
        self._hosts: dict[str, bytes] = {}
        self._tag = self._splice([])

    def path(self, path: str) -> str:
        """Give the path that is sent in the place of a recorded one; empty if none can be."""
        return path if self._new_path is None else self._new_path(path)

    def forget(self) -> None:
        """Begin anew with what `left_out`, `reasons` and `news` tell."""
        self.left_out.clear()

    @property
    def reasons(self) -> dict[str, str]:
        """Say in words why records were left out, where the reason alone does not tell."""
        return {}

    def news(self) -> list[str]:
        """Tell what was not told yet of why records were left out."""
        return []

    def encode(self, record: Record) -> Request | Skip:
        """Give the request to send, or why it must not be sent."""
        method, path = record.method, record.path
        if self._new_path is not None:
            path = self._new_path(path)
        if method not in self._methods and not self._writes.allow(method, path):
            return "connect" if method == "CONNECT" else self._leave_out(method, path or record.path)
        lines, made, special, again = self._lines(record.headers, method)
        tag = self._special(record.headers, special, lines, path) if special else self._tag
        if isinstance(tag, str):
            return tag
        body = record.body
        if record.body_size > len(body):
            return "truncated"
        authority = record.authority
        host = (authority if self._recorded_host else "") or self._host
        first = _bytes(f"{method} {path} HTTP/1.1")
        second = self._hosts.get(host) or self._host_line(host)
        # A value that ended its line would begin another field, or another request (RFC 9112, 11.1). Lines that are
        # remembered were looked at when they were made.
        if not (
            second
            and _is_line(first)
            and (not made or all(map(_is_line, made)))
            and _is_target(path)
            and (authority in self._authorities or self._is_authority(authority))
        ):
            return "malformed" if path == record.path else "rewrite"
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(b"Content-Length: %d" % len(body))
        before, after = tag
        request = Request(
            b"\r\n".join((first, second, *lines)) + before,
            after + body,
            method,
            self.routes.number(method, path),
            outline(record),
            Keys(self._run_id, self.round, again) if again else None,
        )
        if special and takes_trailers(value for kind, value in special if kind is Kind.TE):
            request.trailers = True
        if self.offer is not None:
            self.offer(request)
        return request

    # --- for blocks that are stored by columns: what is there once is encoded once (`replayer.lanes.bulk`) ---

    @property
    def plain_tag(self) -> tuple[bytes, bytes]:
        """What stands before and after the token where nothing recorded has to be merged with it."""
        return self._tag

    def plain_start(self, method: str, authority: str) -> tuple[bytes, bytes] | None:
        """Give what stands before and after the target in the first lines of a request that only reads.

        None: its records need `encode`.
        """
        if method not in self._methods or method not in READING or not self._is_authority(authority):
            return None
        host = _bytes(f"Host: {(authority if self._recorded_host else '') or self._host}")
        return (_bytes(f"{method} "), b" HTTP/1.1\r\n" + host) if _is_line(host) else None

    def plain_targets(self, paths: Sequence[str]) -> Sequence[str | None]:
        """Give the targets as they are sent; None: records with it need `encode`."""
        if self._new_path is not None:
            paths = list(map(self._new_path, paths))
        whole = "".join(paths)  # looked at in one go, as nearly all there are pass
        if whole.isascii() and whole.isprintable() and " " not in whole and all(path[:1] == "/" for path in paths):
            return paths
        return [path if _is_target(path) else None for path in paths]

    def plain_kind(self, name: bytes) -> Kind:
        """Tell what is done with a field of a request that only reads, over HTTP/1.1."""
        kind = self._kinds.get(name) or self._learn(name)
        return _KEEP if kind is _RENEW_IN_WRITES else _DROP if kind is Kind.TE else kind

    def _lines(
        self, headers: Headers, method: str
    ) -> tuple[list[bytes], list[bytes], list[tuple[Kind, bytes]], list[tuple[bytes, bytes]] | None]:
        """Give the lines of the end-to-end fields, which of them were made now, and what needs a closer look.

        That is (kind, value). Last come the fields that are new in every copy, None for none.
        """
        # Most fields of a recording are the same few over and over: their lines are looked up, and the rest is made.
        lines: list[bytes | None] = list(map(self._known.get, headers))
        made: list[bytes] = []
        special = []
        again: list[tuple[bytes, bytes]] | None = None
        cookie = -1
        for place in [place for place, line in enumerate(lines) if line is None]:
            name, value = field = headers[place]
            kind = self._kinds.get(name) or self._learn(name)
            if kind is _KEEP or (kind is _COOKIE and cookie < 0):
                if kind is _COOKIE:
                    cookie = place
                    line = name + b": " + value
                else:
                    line = self._line(field)
                lines[place] = line
                made.append(line)
            elif kind is _RENEW or (kind is _RENEW_IN_WRITES and method not in READING):
                lines[place] = name + b": " + renewed(value, self._run_id, self.round, 0)
                again = [*(again or ()), field]
            elif kind is _RENEW_IN_WRITES:
                line = name + b": " + value  # not remembered: in a write it would be another
                lines[place] = line
                made.append(line)
            elif kind is _COOKIE:
                lines[cookie] = (lines[cookie] or b"") + b"; " + value
                made.append(value)
            elif kind is _DROP or (kind is _CONNECTION and _names_nothing(value)):
                self._remember(field, b"")
            else:
                special.append((kind, value))
                if kind is _OVERRIDE:
                    lines[place] = name + b": " + value
        return [line for line in lines if line], made, special, again

    def _line(self, field: tuple[bytes, bytes]) -> bytes:
        """Make a field's line, and remember it if it is one."""
        line = field[0] + b": " + field[1]
        if _is_line(line):
            self._remember(field, line)
        return line

    def _remember(self, field: tuple[bytes, bytes], line: bytes) -> None:
        """Remember the line of a field; an empty one if it is left out."""
        if len(field[0]) + len(field[1]) <= _KNOWN_LINE:
            if len(self._known) >= _KNOWN_LINES:
                self._known.clear()
            self._known[field] = line

    def _host_line(self, host: str) -> bytes:
        """Make the `Host` line, and remember it; empty if it is none."""
        line = _bytes(f"Host: {host}")
        if not _is_line(line):
            return b""
        if len(self._hosts) < _KNOWN_NAMES and len(line) <= _KNOWN_LINE:
            self._hosts[host] = line
        return line

    def _is_authority(self, authority: str) -> bool:
        if not _AUTHORITY.fullmatch(authority):
            return False
        if len(self._authorities) < _KNOWN_NAMES and len(authority) <= _KNOWN_LINE:
            self._authorities.add(authority)
        return True

    def _special(
        self, headers: Headers, special: list[tuple[Kind, bytes]], lines: list[bytes], path: str
    ) -> _Spliced | Skip:
        """Look at the rare fields. Takes out of `lines` what `Connection` names."""
        found = {kind for kind, _ in special}
        if Kind.MALFORMED in found:
            return "malformed"
        if Kind.TAG in found and loadtag.headers.find(headers):
            return "tagged"  # synthetic traffic must never feed on itself
        if Kind.UPGRADE in found and leaves_http(value for kind, value in special if kind is Kind.UPGRADE):
            return "upgrade"
        if not all(_is_line(value) for _, value in special):
            return "malformed"
        for method in (_method(value) for kind, value in special if kind is Kind.OVERRIDE):
            if method not in self._methods and not self._writes.allow(method, path):
                return self._leave_out(method, path)
        named = {option.lower() for option in listed(value for kind, value in special if kind is Kind.CONNECTION)}
        lines[:] = [line for line in lines if line.partition(b":")[0].lower() not in named]
        baggage = [(b"baggage", value) for kind, value in special if kind is Kind.TAG and not self._drops_baggage]
        return self._splice(baggage)

    def _leave_out(self, method: str, path: str) -> Skip:
        """Count a request that needs leave for this method, which it does not have."""
        self.left_out.all[self.left_out.number(method, path)].left_out += 1
        return "unsafe"

    def _learn(self, name: bytes) -> Kind:
        if len(self._kinds) >= _KNOWN_NAMES:
            self._kinds.clear()
        kind = self._kinds[name] = self._rewriting.kind(name)
        return kind

    def _splice(self, baggage: list[tuple[bytes, bytes]]) -> _Spliced:
        fields = loadtag.headers.put([*self._rewriting.fields, *baggage], self._place, self._run_id)
        text = b"".join(b"\r\n" + name + b": " + value for name, value in fields) + b"\r\n\r\n"
        before, after = text.split(self._place.encode())
        return before, after


def _names_nothing(value: bytes) -> bool:
    """Whether a `Connection` names nothing that would be sent: ``keep-alive``, ``close``."""
    return _is_line(value) and all(option.lower() in OPTIONS for option in listed([value]))


def _method(value: bytes) -> str:
    return value.decode("latin-1").strip().upper()


def _is_line(line: bytes) -> bool:
    return not (10 in line or 13 in line or 0 in line)  # by number, which is ten times quicker than b"\n"


def _is_target(path: str) -> bool:
    # The first half is the second for nearly all there are, at a third of the price.
    plain = path[:1] == "/" and path.isascii() and path.isprintable() and " " not in path
    return plain or _TARGET.fullmatch(path) is not None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")  # as records are decoded
