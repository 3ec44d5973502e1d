"""What becomes of the first records, for people: what is sent, what not, and which rules have nothing to do. Pure."""

from captures.records import Record
from replayer.comparing.routes import Routes
from replayer.counting.accounts import Accounts
from replayer.plan import Plan
from replayer.requests.encoding import Encoder, Request
from replayer.requests.fields import Names
from replayer.requests.writes import lines

_MOST_NAMES = 4096
_LONGEST_SHOWN = 60


class Preview:
    """Looks at records as they would be replayed, and sends none."""

    def __init__(self, plan: Plan, encoder: Encoder) -> None:
        self._plan, self._encoder = plan, encoder
        self._accounts = Accounts()
        self._writes = Routes()
        self._names: set[bytes] = set()
        self._rewritten = 0
        self._example = ""

    def look(self, record: Record | None) -> None:
        """Count what becomes of a record; None is one that was not chosen."""
        self._accounts.read += 1
        if record is None:
            self._accounts.skipped["filtered"] += 1
            return
        if len(self._names) < _MOST_NAMES:
            self._names.update(name for name, _ in record.headers)
        request = self._encoder.encode(record)
        path = self._encoder.path(record.path)
        if path not in (record.path, ""):
            self._rewritten += 1
            self._example = self._example or f"{_short(record.path)} as {_short(path)}"
        if isinstance(request, Request):
            route = self._encoder.routes.all[request.route]
            if route.method not in self._plan.methods:
                self._writes.all[self._writes.named(route.method, route.template)].sent += 1
            return
        self._accounts.skipped[request] += 1

    @property
    def share(self) -> float:
        """Which share of the records is sent; 1 if none was looked at."""
        return 1 - self._accounts.skipped.total() / self._accounts.read if self._accounts.read else 1.0

    @property
    def skipped(self) -> str:
        """What was skipped, to be put behind what was read; empty if nothing was."""
        counts = ", ".join(f"{count} {reason}" for reason, count in self._accounts.skipped.items())
        why = "".join(f" ({reason})" for reason in self._encoder.reasons.values())
        return (f"; of the first {self._accounts.read}, {counts} will be skipped" if counts else "") + why

    def lines(self) -> list[tuple[str, str]]:
        """Say the rest: (what, finding)."""
        plan, read = self._plan, self._accounts.read
        found = lines(self._writes.settled(), self._encoder.left_out.settled(), plan.methods)
        if plan.rewrite:
            example = f": {self._example}" if self._example else ", so look at --rewrite again"
            found.append(("paths", f"{self._rewritten} of the first {read} are rewritten{example}"))
        patterns = dict.fromkeys((*plan.remove_header, *plan.keep_header, *plan.renew_header))
        if idle := [text for text in patterns if not any(name in Names([text.strip()]) for name in self._names)]:
            found.append(("headers", f"none of the first {read} has {', '.join(idle)}"))
        return found


def _short(path: str) -> str:
    return path if len(path) <= _LONGEST_SHOWN else path[: _LONGEST_SHOWN - 3] + "..."
