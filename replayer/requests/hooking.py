"""An encoder that asks a plugin about every record. Pure, as far as the plugin is.

recorded -> rules of the plan (`rewriting`) -> plugin -> the rules for any recorded request (`encoding`), keys, tag
"""

from collections.abc import Container
from itertools import compress
from operator import itemgetter

import loadtag.headers
from captures.records import Headers, Record
from replayer.plugins import Hook, PluginRequest
from replayer.requests.encoding import AS_RECORDED, NO_WRITES, Encoder, Request, Skip
from replayer.requests.fields import Kind, leaves_http, listed, takes_trailers
from replayer.requests.rewriting import Rewriting
from replayer.requests.writes import Writes

type _Mask = tuple[bool, tuple[bool, ...]]

_CLOSER = {Kind.CONNECTION, Kind.MALFORMED, Kind.UPGRADE, Kind.TAG}
"""Fields for which a record is looked at as a whole."""

_HIDDEN = {Kind.DROP, Kind.CONNECTION, Kind.UPGRADE, Kind.TE}
"""Fields that are not for the far end."""

_NAME = itemgetter(0)
_KNOWN_MASKS, _LONGEST_MASK = 1024, 64
"""Lists of names that are remembered, and the names in the longest of them."""

_UNFIT = {
    "tagged": "it gave a request that bears a load tag",
    "malformed": "it gave a request that can't be written as one: look at its path, authority and headers",
    "upgrade": "it gave a request to switch to another protocol",
}


class PluginEncoder(Encoder):
    """Encodes what a plugin makes of records. `hooked` tells whoever takes a shorter way that there is none."""

    hooked = True

    def __init__(
        self,
        run_id: str,
        methods: Container[str],
        host: str,
        hook: Hook,
        recorded_host: bool = False,
        rewriting: Rewriting = AS_RECORDED,
        writes: Writes = NO_WRITES,
    ) -> None:
        super().__init__(run_id, methods, host, recorded_host, rewriting, writes)
        self.hook = hook
        self._masks: dict[tuple[bytes, ...], _Mask] = {}
        # What a plugin gave has a host, and the plan's rules behind it.
        self._then = Encoder(run_id, methods, host, True, rewriting.after_plugin(), writes)
        self._then.routes, self._then.left_out = self.routes, self.left_out

    def forget(self) -> None:
        """Begin anew with what `left_out`, `reasons` and `news` tell."""
        super().forget()
        self.hook.forget()

    @property
    def reasons(self) -> dict[str, str]:
        """Say in words why records were left out."""
        failures = (f"{what} ({count} times)" for what, count in self.hook.failures.most_common())
        return {"plugin-error": f"{self.hook.name}: {'; '.join(failures)}"} if self.hook.failures else {}

    def news(self) -> list[str]:
        """Tell what was not told yet of why records were left out."""
        return [f"{self.hook.name}: {what}" for what in self.hook.news()]

    def encode(self, record: Record) -> Request | Skip:
        """Give the request to send, or why none must be sent."""
        fields = self._end_to_end(record)
        if isinstance(fields, str):
            return fields
        host = (record.authority if self._recorded_host else "") or self._host
        request = PluginRequest(record.method, self.path(record.path), host, fields, record.body)
        given = self.hook(request)
        if isinstance(given, str):
            return given
        if given is request:
            return super().encode(record)
        self._then.round, self._then.offer = self.round, self.offer
        outcome = self._then.encode(
            Record(
                record.arrival_ns, given.method, record.scheme, given.authority, given.path, record.http_version,
                given.headers, given.body, len(given.body), *record[9:],
            )
        )  # fmt: skip
        if isinstance(outcome, Request):
            outcome.trailers = takes_trailers(self._values(record, Kind.TE))  # no plugin was asked about that
        return self.hook.failed(_UNFIT[outcome]) if isinstance(outcome, str) and outcome in _UNFIT else outcome

    def _values(self, record: Record, kind: Kind) -> list[bytes]:
        """Give the values of all fields of a kind."""
        return [value for name, value in record.headers if (self._kinds.get(name) or self._learn(name)) is kind]

    def _end_to_end(self, record: Record) -> Headers | Skip:
        """Give the fields for the far end, those that the plan sets among them.

        Or why no plugin is asked: synthetic traffic must not feed on itself, and half a body is none.
        """
        headers = record.headers
        names = tuple(map(_NAME, headers))
        # The names of a recording's requests are the same few lists over and over.
        mask = self._masks.get(names) or self._mask(names)
        if mask[0] or record.method == "CONNECT" or record.body_size > len(record.body):
            return self._looked_at(record)
        return (*compress(headers, mask[1]), *self._rewriting.fields)

    def _mask(self, names: tuple[bytes, ...]) -> _Mask:
        """Tell, and remember, whether fields of these names need a closer look, and if not, which of them are sent."""
        kinds = [self._kinds.get(name) or self._learn(name) for name in names]
        mask = not _CLOSER.isdisjoint(kinds), tuple(kind not in _HIDDEN for kind in kinds)
        if len(names) <= _LONGEST_MASK:
            if len(self._masks) >= _KNOWN_MASKS:
                self._masks.clear()
            self._masks[names] = mask
        return mask

    def _looked_at(self, record: Record) -> Headers | Skip:
        headers = record.headers
        kinds = [self._kinds.get(name) or self._learn(name) for name, _ in headers]
        why: dict[Skip, bool] = {
            "connect": record.method == "CONNECT",
            "tagged": loadtag.headers.find(headers) is not None,
            "malformed": Kind.MALFORMED in kinds,
            "upgrade": leaves_http(self._values(record, Kind.UPGRADE)),
            "truncated": record.body_size > len(record.body),
        }
        if True in why.values():
            return next(reason for reason, found in why.items() if found)
        named = {option.lower() for option in listed(self._values(record, Kind.CONNECTION))}
        unwanted = {*_HIDDEN, *((Kind.TAG,) if self._drops_baggage else ())}
        kept = (
            field
            for field, kind in zip(headers, kinds, strict=True)
            if kind not in unwanted and field[0].lower() not in named
        )
        return (*kept, *self._rewriting.fields)
