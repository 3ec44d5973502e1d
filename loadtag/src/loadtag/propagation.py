"""Taking the load tag from what comes in and putting it on what goes out, whatever carries it.

The plain pair under all middleware and hooks, in the shape of OpenTelemetry's propagators: a *carrier* is whatever has
headers, a *getter* reads it and a *setter* writes it. The default ones know

- mappings: ``dict``, and what HTTP libraries call headers; names in any case, values str or bytes,
- lists of ``(name, value)`` pairs: Kafka's headers (str, bytes), gRPC's metadata (str, str), ASGI's (bytes, bytes).

Nothing here raises: it would raise into the app. A broken tag is no tag, and a carrier that can't be written to goes
as it is; the latter is logged once.
"""

from __future__ import annotations

from loadtag.context import Dark, Served, current
from loadtag.faults import tell
from loadtag.outgoing import goes_to

TYPE_CHECKING = False  # see `loadtag`
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, Protocol

    Field = tuple[bytes, bytes]

    class Getter(Protocol):
        """Reads a carrier (OpenTelemetry's ``Getter``)."""

        def get(self, carrier: Any, key: str) -> Iterable[str | bytes] | str | bytes | None:
            """Return all values of `key`, in whatever case it is written; None if there is none."""

    class Setter(Protocol):
        """Writes to a carrier (OpenTelemetry's ``Setter``)."""

        def set(self, carrier: Any, key: str, value: str) -> None:
            """Set the only value of `key`."""


DARK_HEADER = "x-reamp-dark"
"""The header that marks a dark copy and names who made it."""

FIELDS = ("baggage", "x-load-test", DARK_HEADER)
"""The names that are read and written."""

_BAGGAGE = b"baggage"
_DARK = DARK_HEADER.encode()
_MARKS = frozenset(name.encode() for name in FIELDS)
_LENGTHS = frozenset(map(len, FIELDS))
_DARK_NAME = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


class DefaultGetter:
    """Reads mappings and lists of pairs; names in any case, str or bytes."""

    def get(self, carrier: Any, key: str) -> list[str | bytes]:
        """Return all values of `key`, which is in small letters."""
        return [value for name, value in _pairs(carrier) if _text(name).lower() == key]


class DefaultSetter:
    """Writes to mutable mappings and lists of pairs, in the place of what stood there under the same name.

    `names` and `values` are the types to write, ``str`` or ``bytes``; None: as in what is there already, or else str.
    """

    __slots__ = ("_names", "_values")

    def __init__(self, names: type[str | bytes] | None = None, values: type[str | bytes] | None = None) -> None:
        self._names = names
        self._values = values

    def set(self, carrier: Any, key: str, value: str) -> None:
        """Set the only value of `key`, which is in small letters."""
        pair = self._like(carrier, key, value)
        if hasattr(carrier, "keys"):
            self.remove(carrier, key)
            carrier[pair[0]] = pair[1]
        else:
            carrier[:] = [*(item for item in carrier if _text(item[0]).lower() != key), pair]

    def remove(self, carrier: Any, key: str) -> None:
        """Remove `key`, however it is written."""
        if hasattr(carrier, "keys"):
            for name in [name for name, _ in _pairs(carrier) if _text(name).lower() == key]:
                if name in carrier:  # removing one spelling may have removed them all
                    del carrier[name]
        else:
            carrier[:] = [item for item in carrier if _text(item[0]).lower() != key]

    def _like(self, carrier: Any, key: str, value: str) -> tuple[Any, Any]:
        """Return the pair to write, of the types of the first that is there."""
        first = next(iter(_pairs(carrier)), ("", ""))
        listed = isinstance(carrier, dict) and isinstance(first[1], list)  # others give lists and take single values
        example = first[1][0] if listed and first[1] else first[1]
        names = self._names or (bytes if isinstance(first[0], bytes) else str)
        values = self._values or (bytes if isinstance(example, bytes) else str)
        written = _bytes(value) if values is bytes else value
        return key.encode() if names is bytes else key, [written] if listed else written


default_getter = DefaultGetter()
default_setter = DefaultSetter()
message_setter = DefaultSetter(names=str, values=bytes)
"""For messages whose headers are text with bytes: Kafka's."""


def extract(carrier: Any, getter: Getter = default_getter) -> Served | Dark | None:
    """Tell what the carrier brings: give it to `loadtag.serve`. None, the usual answer, stands for something real."""
    try:
        return arriving(read(carrier, getter))
    except Exception as error:  # noqa: BLE001 - no carrier, however strange, may cost a request
        tell(f"a {type(carrier).__name__} can't be read for a load tag: {type(error).__name__}")
        return None


def inject(
    carrier: Any, setter: Setter = default_setter, getter: Getter = default_getter, *, to: str | None = None
) -> None:
    """Put on the carrier what is being served, if it is synthetic or a dark copy; otherwise leave it as it is.

    The tag joins the baggage that is there, within the limits of W3C Baggage. `to` is the host that the call goes to,
    or its URL, if it is known: hosts outside (see `loadtag.outgoing`) don't get the tag, nor what was there of it.
    """
    served = current()
    if served is None:
        return
    try:
        inside = goes_to(to)
        there = read(carrier, getter)
        wanted = dict(_outgoing(served, there) if inside else _bare(there))
        for name in FIELDS:
            value = wanted.get(name.encode())
            if value is not None:
                setter.set(carrier, name, _text(value))
            elif any(name.encode() == is_there for is_there, _ in there):
                _remove(setter, carrier, name)
    except Exception as error:  # noqa: BLE001 - as above
        tell(f"a {type(carrier).__name__} can't be given the load tag: {type(error).__name__}")


def injected(
    pairs: Iterable[tuple[Any, Any]] | None, setter: Setter = default_setter, *, to: str | None = None
) -> list[tuple[Any, Any]]:
    """Return a list of pairs with what is being served on it: for what is given as a tuple, as gRPC's metadata is."""
    carrier = list(pairs or ())
    inject(carrier, setter, to=to)
    return carrier


def prepare(*, executors: bool) -> None:
    """Prepare for an app, as middleware does when it is made: load what tags need, and follow into executors."""
    import loadtag.headers  # noqa: F401, PLC0415 - now, so that no request has to wait for it

    if executors:
        from loadtag.concurrency import follow_into_executors  # noqa: PLC0415 - takes longer to load than the rest

        follow_into_executors()


def read(carrier: Any, getter: Getter) -> list[Field]:
    """Return what the carrier holds under `FIELDS`, as raw fields. Raises whatever a strange carrier raises."""
    if not isinstance(getter, DefaultGetter):
        return [(key.encode(), _bytes(one)) for key in FIELDS for one in _several(getter.get(carrier, key))]
    found: list[Field] = []
    for name, value in _pairs(carrier):  # once over the carrier instead of once for each name
        if isinstance(name, (str, bytes)) and len(name) in _LENGTHS:
            key = _bytes(name).lower()
            if key in _MARKS:
                found += [(key, _bytes(one)) for one in _several(value)]
    return found


def arriving(fields: Sequence[Field]) -> Served | Dark | None:
    """Tell what raw header fields bring, as an ASGI scope has them: pairs of bytes.

    Only for use behind a sidecar that lets no forged tag pass. A request with both marks is synthetic. Never raises.
    """
    try:
        # This loop runs for every request. Comparing lengths first spares a call for nearly all names.
        for name, _ in fields:
            length = len(name)
            if (length == 7 or 11 <= length <= 12) and name.lower().replace(b"_", b"-") in _MARKS:
                return _arriving(fields)
    except Exception as error:  # noqa: BLE001 - as above: a server's fault, perhaps, but not for us to end a request
        tell(f"the fields of a request can't be read for a load tag: {type(error).__name__}")
    return None


def _arriving(fields: Sequence[Field]) -> Served | Dark | None:
    from loadtag.headers import find  # noqa: PLC0415 - loaded for what has a tag only
    from loadtag.tag import TagError, parse  # noqa: PLC0415

    found = find(fields)
    if found is not None and found.token is not None:
        try:
            return Served(parse(found.token).tag, found.token)
        except TagError:
            pass
    names = [value for name, value in fields if name.lower() == _DARK]
    if len(names) == 1 and 0 < len(names[0]) <= 64 and _DARK_NAME.issuperset(names[0]):
        return Dark(names[0].decode("ascii"))
    return None


def _outgoing(served: Served | Dark, there: list[Field]) -> list[Field]:
    """Our fields as they have to be, beside the baggage that is there."""
    from loadtag.headers import put  # noqa: PLC0415 - as above

    bare = _bare(there)
    if isinstance(served, Dark):
        return [*bare, (_DARK, _bytes(served.name))]
    return put(bare, served.token, served.tag.run_id)


def _bare(there: list[Field]) -> list[Field]:
    """Our fields as they have to be where no mark may go: other people's baggage."""
    from loadtag.headers import strip  # noqa: PLC0415 - as above

    baggage = [value for name, value in strip(there) if name == _BAGGAGE]
    return [(_BAGGAGE, b",".join(baggage))] if baggage else []


def _remove(setter: Setter, carrier: Any, key: str) -> None:
    """Remove `key`; OpenTelemetry's setters can't, so there it is left empty."""
    if isinstance(setter, DefaultSetter):
        setter.remove(carrier, key)
    else:
        setter.set(carrier, key, "")


def _pairs(carrier: Any) -> Iterator[tuple[Any, Any]]:
    yield from carrier.items() if hasattr(carrier, "items") else (item[:2] for item in carrier or ())


def _several(value: Any) -> Iterable[Any]:
    """One value, or those of a list of them; without what is neither text nor bytes."""
    found = (value,) if isinstance(value, (str, bytes)) else () if value is None else value
    return [one for one in found if isinstance(one, (str, bytes))]


def _bytes(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")  # gives back what `_text` made of any bytes
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _text(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else value.decode("utf-8", "surrogateescape")
        if isinstance(value, bytes)
        else ""
    )
