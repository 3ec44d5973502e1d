"""An encoder that asks a plugin about every record. Pure, as far as the plugin is.

recorded -> rules of the plan (`rewriting`) -> plugin -> the rules for any recorded request (`encoding`), keys, tag
"""

from collections.abc import Container
from itertools import chain

import loadtag.headers
from captures.records import Headers, Record
from replayer.encoding import AS_RECORDED, NO_WRITES, Encoder, Request, Skip
from replayer.fields import Kind
from replayer.plugins import Hook, PluginRequest
from replayer.rewriting import Rewriting
from replayer.writes import Writes

_LEFT_TO_THE_SENDER = {Kind.DROP, Kind.CONNECTION, Kind.MALFORMED, Kind.UPGRADE}

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
        self._hook = hook
        # What a plugin gave has a host, and the plan's rules behind it.
        self._then = Encoder(run_id, methods, host, True, rewriting.after_plugin(), writes)
        self._then.routes = self.routes

    def forget(self) -> None:
        """Begin anew with what `reasons` and `news` tell."""
        self._hook.forget()

    @property
    def reasons(self) -> dict[str, str]:
        """Say in words why records were left out."""
        failures = (f"{what} ({count} times)" for what, count in self._hook.failures.most_common())
        return {"plugin-error": f"{self._hook.name}: {'; '.join(failures)}"} if self._hook.failures else {}

    def news(self) -> list[str]:
        """Tell what was not told yet of why records were left out."""
        return [f"{self._hook.name}: {what}" for what in self._hook.news()]

    def encode(self, record: Record) -> Request | Skip:
        """Give the request to send, or why none must be sent."""
        # These three are nobody's to change: synthetic traffic must not feed on itself, and half a body is none.
        if record.method == "CONNECT":
            return "connect"
        if loadtag.headers.find(record.headers):
            return "tagged"
        if record.body_size > len(record.body):
            return "truncated"
        fields = self._end_to_end(record.headers)
        if isinstance(fields, str):
            return fields
        host = (record.authority if self._recorded_host else "") or self._host
        given = self._hook(PluginRequest(record.method, self.path(record.path), host, fields, record.body))
        if isinstance(given, str):
            return given
        self._then.round = self.round
        outcome = self._then.encode(
            record._replace(
                method=given.method, path=given.path, authority=given.authority, headers=given.headers,
                body=given.body, body_size=len(given.body),
            )
        )  # fmt: skip
        return self._hook.failed(_UNFIT[outcome]) if isinstance(outcome, str) and outcome in _UNFIT else outcome

    def _end_to_end(self, headers: Headers) -> Headers | Skip:
        """Give the fields for the far end, those that the plan sets among them."""
        kinds = [self._kinds.get(name) or self._learn(name) for name, _ in headers]
        left = _LEFT_TO_THE_SENDER.intersection(kinds)
        if Kind.MALFORMED in left:
            return "malformed"
        if Kind.UPGRADE in left:
            return "upgrade"
        own = self._rewriting.fields
        if not left and not self._drops_baggage:
            return (*headers, *own) if own else headers
        unwanted = {Kind.DROP, Kind.CONNECTION, *((Kind.TAG,) if self._drops_baggage else ())}
        kept = [field for field, kind in zip(headers, kinds, strict=True) if kind not in unwanted]
        if Kind.CONNECTION in left:
            values = (value for (_, value), kind in zip(headers, kinds, strict=True) if kind is Kind.CONNECTION)
            named = {option.strip().lower() for option in chain.from_iterable(value.split(b",") for value in values)}
            kept = [field for field in kept if field[0].lower() not in named]
        return (*kept, *own)
