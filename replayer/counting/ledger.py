"""Where a lane counts what became of requests. Pure."""

from replayer.comparing.routes import Route
from replayer.counting.accounts import Accounts
from replayer.counting.latency import Recorder


class Ledger:
    """One run's books. `accounts` hold the run's own counts too: what it shed itself, what was read and skipped."""

    def __init__(self, routes: list[Route]) -> None:
        self.accounts = Accounts()
        self.latency, self.service, self.lag, self.wait = Recorder(), Recorder(), Recorder(), Recorder()
        self.routes = routes
        self.crowded = 0
        """Requests that were sent after waiting for a free connection for longer than the lag may be."""

    @property
    def recorders(self) -> tuple[tuple[str, Recorder], ...]:
        """The run's distributions, each with its name."""
        return ("latency", self.latency), ("service", self.service), ("lag", self.lag), ("wait", self.wait)
