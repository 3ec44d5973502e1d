"""What a run looks like at a moment, for whoever shows it. Pure."""

from typing import NamedTuple

from replayer.counting.accounts import Accounts
from replayer.permission.ceiling import Ceiling, Unbounded


class Snapshot(NamedTuple):
    """Rates are per second, over the last second."""

    elapsed: float
    left: float
    wanted: float
    allowed: float | None
    """What the sidecars granted; None: there is no ceiling."""
    sent: float
    real: float | None
    """None: nothing tells."""
    ceiling: str
    real_p95: float | None
    """Seconds; of the sidecar with the slowest real users."""
    p95: float | None
    in_flight: int
    gain: float | None
    """Share of the demand that back-off leaves; None: no rule changes it."""
    accounts: Accounts
    note: str
    """What is wrong, if something is."""
    starts_in: float | None = None
    """Seconds until a start that was announced; None: it has started."""


class Observer:
    """Turns counts into rates."""

    def __init__(self, ceiling: Ceiling | Unbounded) -> None:
        self._ceiling = ceiling
        self._before = self._counts(Accounts())

    def observe(
        self,
        accounts: Accounts,
        elapsed: float,
        span: float,
        left: float,
        p95: float | None,
        lost: set[str],
        ended: bool = False,
        trouble: str = "",
    ) -> Snapshot:
        """Sum up the last `span` seconds; `lost` names the sidecars whose signal is gone, `trouble` what else is."""
        sources = self._ceiling.sources
        counts = self._counts(accounts)
        wanted, sent, allowed, real = (
            (count - before) / max(span, 1e-3) for count, before in zip(counts, self._before, strict=True)
        )
        self._before = counts
        p95s = [source.signal.p95 for source in sources if source.signal and source.signal.p95 is not None]
        return Snapshot(
            elapsed=elapsed,
            left=left,
            wanted=wanted,
            allowed=allowed if sources else None,
            sent=sent,
            real=real if sources else None,
            ceiling=str(min((source.ratio for source in sources), default="none")),
            real_p95=max(p95s, default=None),
            p95=p95,
            in_flight=accounts.in_flight,
            gain=None,
            accounts=accounts,
            note="; ".join(filter(None, [self._note(lost, accounts, ended=ended), trouble])),
        )

    def _note(self, lost: set[str], accounts: Accounts, ended: bool) -> str:
        if ended:
            return f"waiting for the last answers: {accounts.in_flight + accounts.waiting}"
        if not lost:
            return ""
        urls = ", ".join(sorted(lost))
        share = "nothing" if len(lost) >= len(self._ceiling.sources) else "nothing on its account"
        return f"no signal from {urls}: {share} is sent"

    def _counts(self, accounts: Accounts) -> tuple[int, int, int, int]:
        return accounts.wanted, accounts.sent, self._ceiling.granted, self._ceiling.real
