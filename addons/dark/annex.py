"""The supervisor's side of dark traffic: what both ends share, the lever, and how it goes."""

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from addons.books import BOUNDS
from addons.dark.accounts import NOT_COPIED, OUTCOMES, SENT, Accounts, Sums, running
from addons.dark.choosing import Chooser
from addons.dark.comparison import Aspects
from addons.dark.copying import MESSAGE
from addons.dark.mark import NAME
from addons.dark.settings import Settings
from addons.lever.latch import LatchingLever
from addons.processes.aide import Aide
from addons.processes.crew import ROWS_PER_WORKER
from rules.exits import UserError
from rules.units import MILLION, Duration, Rate, Share, Size, parse_address
from rules.wire import Dark, DarkTimes

BUFFER = 1 << 20
"""Bytes of the socket between workers and aide, if the system allows so many: it is the only queue there is."""


@dataclass(frozen=True)
class DarkPlan:
    """What the settings say of dark copies. Raises UserError if it can't be."""

    url: str
    share: Share
    state: Path
    workers: int
    mark: str
    allow: tuple[str, ...]
    host: Literal["keep", "target"]
    secrets: Literal["send", "drop"]
    compare: Aspects
    timeout: Duration
    at_once: int
    per_second: Rate | None
    body_limit: Size
    held_back: bool = False
    """Whether there is an egress, which knows what is called for copies."""
    name: str = "dark"
    """That of the annex."""

    def __post_init__(self) -> None:
        parts = _url(self.url)
        if not 0 < self.share <= MILLION:
            raise UserError("--dark-share: it has to be above 0% and at most 100%")
        if not NAME.fullmatch(self.mark):
            raise UserError(f"--dark-name: {self.mark!r} has to be up to 64 letters, digits and any of . _ -")
        if self.timeout <= 0 or self.timeout > 60:
            raise UserError("--dark-timeout: it has to be above zero and at most 1m")
        if not 1 <= self.at_once <= 1024:
            raise UserError("--dark-at-once: it has to be between 1 and 1024")
        if self.per_second is not None and self.per_second <= 0:
            raise UserError("--dark-rate: it has to be above zero; to send nothing, pull the lever: reamp stop --dark")
        if self.body_limit > MESSAGE // 2:
            raise UserError(f"--dark-body-limit: at most {Size(MESSAGE // 2)} fit into a message")
        try:
            Chooser(self.share, self.allow)
        except ValueError as error:
            raise UserError(f"--dark-allow: {error}") from None
        if parts.scheme == "http" and self.secrets == "send" and not _is_near(parts.hostname or ""):
            raise UserError(
                f"--dark {self.url}: cookies and authorizations of users would cross a network unencrypted. "
                "Give an https:// URL, or --dark-secrets drop"
            )

    def check_apart(self, upstream: str, listen: str) -> None:
        """Refuse to send copies where the originals go. Raises UserError."""
        dark = _place(_url(self.url))
        if dark == _place(urlsplit(upstream)):
            raise UserError("--dark is the app that users see: name a service that they do not")
        host, port = parse_address(listen)
        if dark == (_plain(host), port) or (host in ("0.0.0.0", "::") and dark[1] == port and dark[0] == "localhost"):  # noqa: S104
            raise UserError("--dark is this sidecar itself: name the service that copies are for")

    def __str__(self) -> str:
        """Say it in a line, where a sidecar tells what it does."""
        calls = (
            "what is called for them by the egress goes by the rules for third parties"
            if self.held_back
            else "beware: what the dark service calls, it calls for real (docs/dark.md)"
        )
        told = f"copies of {self.share} of real requests go to {self.url}; to stop only them: reamp stop --dark"
        return f"{told}\n            {calls}"

    def options(self) -> dict[str, Any]:
        """Give what a worker has to know, as mitmproxy options."""
        return {
            "reamp_dark_share": str(self.share),
            "reamp_dark_name": self.mark,
            "reamp_dark_allow": list(self.allow),
            "reamp_dark_body_limit": str(self.body_limit),
            "reamp_dark_compare": str(self.compare),
        }

    def settings(self) -> dict[str, Any]:
        """Give what the aide has to know."""
        parts = _url(self.url)
        return Settings(
            url=self.url,
            name=self.mark,
            host=parts.netloc if self.host == "target" else "",
            secrets=self.secrets == "send",
            timeout=float(self.timeout),
            at_once=self.at_once,
            per_second=None if self.per_second is None else float(self.per_second),
            compare=tuple(self.compare),
        ).model_dump(mode="json")

    def open(self) -> "DarkAnnex":
        """Make what workers and the aide share."""
        return DarkAnnex(self)


class DarkAnnex:
    """Dark copies, as the supervisor and the control port see them."""

    name = "dark"

    def __init__(self, plan: DarkPlan) -> None:
        self._plan = plan
        self.accounts = Accounts.create(plan.workers * ROWS_PER_WORKER)
        self.lever = LatchingLever(plan.state / "dark-lever.json", self)
        # Connected to each other, and both ends open here for as long as this process lives: what is in it outlives
        # an aide, and no worker ever gets to hear that there is none.
        self._inlet, self._outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for one in (self._inlet, self._outlet):
            one.setblocking(False)
        self._inlet.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._outlet.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self.aide = Aide("dark", "addons.dark.sender", lambda: self._of_aide)

    def move_lever(self, engaged: bool, reason: str) -> None:
        """Show workers and aide where the lever of the dark copies stands."""
        self.accounts.engaged = engaged

    @property
    def shares(self) -> Mapping[str, int]:
        """Give the descriptors that workers inherit, by name."""
        return {"dark-accounts": self.accounts.fileno(), "dark-outlet": self._outlet.fileno()}

    @property
    def _of_aide(self) -> Mapping[str, int]:
        return {"dark-accounts": self.accounts.fileno(), "dark-inlet": self._inlet.fileno()}

    def state(self) -> Dark:
        """Tell how it is."""
        sums, told = self.accounts.sums(running), self.aide.settings
        return Dark(
            url=told.get("url", self._plan.url),
            name=told.get("name", self._plan.mark),
            share=Share(self.accounts.share or self._plan.share),
            lever=self.lever.state,
            serving=self.aide.serves,
            pid=self.aide.pid,
            restarts=self.aide.restarts.count,
            seen=sums.seen,
            outcomes=sums.outcomes,
            answering=sums.answering,
            waiting=sums.waiting,
            in_flight=sums.in_flight,
            sent=sum(sums.outcomes[name] for name in SENT),
            compared={aspect: {"same": same, "different": not_} for aspect, (same, not_) in sums.compared.items()},
            times={side: DarkTimes(**_points(sums, side)) for side in sums.times},
        )

    def metrics(self) -> Iterable[Metric]:
        """Give its metrics as they stand."""
        sums = self.accounts.sums(running)
        copies = CounterMetricFamily(
            "reamp_dark_requests",
            "Real requests by what became of their dark copies. With what is pending, the sum is what was seen.",
            labels=["outcome"],
        )
        for outcome in (*NOT_COPIED, *OUTCOMES):
            copies.add_metric([outcome], sums.outcomes[outcome])
        pending = GaugeMetricFamily("reamp_dark_pending", "Requests not settled yet.", labels=["where"])
        for where in ("answering", "waiting", "in_flight"):
            pending.add_metric([where], getattr(sums, where))
        seconds = HistogramMetricFamily(
            "reamp_dark_duration_seconds", "Of answered copies: the real answer, and the dark one.", labels=["answer"]
        )
        for side, times in sums.times.items():
            buckets, below = [], 0
            for bound, count in zip([*map(str, BOUNDS), "+Inf"], times.counts, strict=True):
                below += count
                buckets.append((bound, float(below)))
            seconds.add_metric([side], buckets, times.seconds)
        compared = CounterMetricFamily(
            "reamp_dark_compared", "Answers that were compared with the real ones.", labels=["aspect", "result"]
        )
        for aspect, (same, different) in sums.compared.items():
            compared.add_metric([aspect, "same"], same)
            compared.add_metric([aspect, "different"], different)
        return [
            CounterMetricFamily("reamp_dark_seen", "Real requests that came while copies were made.", sums.seen),
            copies,
            pending,
            seconds,
            compared,
            CounterMetricFamily("reamp_dark_answer_bytes", "Bytes of dark answers, thrown away.", sums.size),
            GaugeMetricFamily("reamp_dark_lever_engaged", "1 if dark copies are stopped.", self.lever.engaged),
            GaugeMetricFamily("reamp_dark_up", "1 while the process that sends copies is there.", self.aide.serves),
            CounterMetricFamily(
                "reamp_dark_restarts", "Processes for copies that died and were replaced.", self.aide.restarts.count
            ),
        ]

    def close(self) -> None:
        """Give back what it holds."""
        self.accounts.close()
        self._inlet.close()
        self._outlet.close()


def _points(sums: Sums, side: str) -> dict[str, float | None]:
    return {f"p{point}": sums.times[side].percentile(point) for point in (50, 95, 99)}


def _url(text: str) -> SplitResult:
    wrong = f"--dark: {text!r} is not the URL of a service: write it like http://127.0.0.1:8001"
    try:
        parts = urlsplit(text)
        if parts.port == 0:
            raise UserError(wrong)
    except ValueError:
        raise UserError(wrong) from None
    rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in ("http", "https") or not parts.hostname or rest or not parts.netloc.isascii():
        raise UserError(wrong)
    return parts


def _is_near(host: str) -> bool:
    """Whether a host belongs to the owner's own network, by its name: without a dot, or of a zone that nobody sells."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        zone = host.rstrip(".").rpartition(".")[2]
        return "." not in host or zone in ("local", "internal", "svc", "localhost", "test", "lan")
    return address.is_private or address.is_loopback or address.is_link_local


def _place(parts: SplitResult) -> tuple[str, int]:
    return _plain(parts.hostname or ""), parts.port or (443 if parts.scheme == "https" else 80)


def _plain(host: str) -> str:
    return "localhost" if host in ("127.0.0.1", "::1", "localhost") else host
