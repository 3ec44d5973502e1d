"""A rule's value by a query of Prometheus: asked for every few seconds, judged with suspicion.

The first half is pure: an answer's bytes become a number, or words that say why there is none. The second half asks.
Nothing of what a server says or fails to say can end a run other than by its rule: what is not one fresh, finite number
is no data. What it sends is bounded in size and time.

An answer tells when it was made. It is old if that is long ago, or if it does not move on from query to query as time
does (a cache on the way, a server whose clock stands still). Time is the monotonic clock's, set once to what the clock
on the wall said at the start: a clock that somebody sets later makes nothing old look fresh.

HTTP API: https://prometheus.io/docs/prometheus/latest/querying/api/
"""

import asyncio
import base64
import math
import os
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from replayer.transport.tls import trusting
from rules.exits import UserError
from rules.slo import Prometheus, Reading, Rule

SECOND_NS = 1_000_000_000

INTERVAL = 2.0
"""Seconds between the beginnings of two queries."""

TIMEOUT = 1.5
"""Seconds that a query may take, from the connection to the last byte of the answer."""

FRESH_NS = int((INTERVAL + TIMEOUT + 0.5) * SECOND_NS)
"""For how long the answer to a query counts, from when it was asked."""

OLDEST = 60.0
"""Seconds by which an answer's time may differ from that of this machine, whose clock may not be quite right."""

BEHIND_NS = 5 * SECOND_NS
"""By how much the time of answers may fall behind that of the freshest one so far."""

DRIFT = 1000
"""Two clocks may creep apart by one part in this many."""

MOST_BYTES = 256 * 1024
"""Bytes that an answer may have. One number needs some hundred, a thousand series that nobody added up have more."""

LONGEST_URL = 2000
"""Characters that a query may have in an address; a longer one is posted."""

_TOLD = 200


class Sample(NamedTuple):
    """What an answer says."""

    value: float
    at: float
    """Unix time at which the query was evaluated, by the server's clock."""


class _Data(BaseModel):
    model_config = ConfigDict(extra="ignore")

    kind: str = Field(alias="resultType")
    result: Any = None


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    status: str
    error: str = ""
    error_type: str = Field("", alias="errorType")
    warnings: list[str] = []
    data: _Data | None = None


def sample(status: int, body: bytes) -> Sample | str:
    """Read an answer: one finite number, or words that say what it is instead."""
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError:
        kind = "" if status == 200 else f" (status {status})"
        return f"what answers there is no Prometheus{kind}: is it the right URL, without /api?"
    if status != 200 or answer.status != "success":
        told = _printable(answer.error) or "it gives no reason"
        return f"Prometheus refused the query ({answer.error_type or status}): {told}"
    # Before 2.54 or so, notes on the query itself came as warnings, too. They say nothing about the data.
    warnings = [text for text in answer.warnings if not text.startswith("PromQL info")]
    if warnings:
        return f"Prometheus warns that the answer may not be whole: {_printable(warnings[0])}"
    if answer.data is None:
        return "Prometheus gave an answer without data"
    return _one(answer.data)


def _one(data: _Data) -> Sample | str:
    found = data.result
    if data.kind == "vector":
        if not isinstance(found, list) or not found:
            return "the query gives nothing: no such series, or none with a sample within the rule's window"
        if len(found) > 1:
            return f"the query gives {len(found):,} values and not one: put them together, with sum(...) or max(...)"
        if not isinstance(found[0], dict) or "value" not in found[0]:
            return "the query gives no number: of a native histogram, take histogram_quantile(...)"
        return _number(found[0]["value"])
    if data.kind == "scalar":
        return _number(found)
    return f"the query gives {_article(data.kind)} and not one number: take it at one moment, as with rate(...[1m])"


def _number(found: Any) -> Sample | str:
    nothing = "Prometheus gave an answer that is no number"
    if not isinstance(found, list) or len(found) != 2 or not isinstance(found[1], str):
        return nothing
    try:
        at, value = float(found[0]), float(found[1])
    except (TypeError, ValueError, OverflowError):
        return nothing
    if not math.isfinite(value):
        return f"the query gives {_printable(found[1])}: a share of nothing, perhaps"
    return Sample(value, at) if math.isfinite(at) else "Prometheus gave an answer of no time"


def _article(kind: str) -> str:
    return {"matrix": "a range of values", "string": "a text"}.get(kind, "something")


def _printable(text: str) -> str:
    plain = "".join(letter if letter.isprintable() else " " for letter in text[: 2 * _TOLD])
    return " ".join(plain.split())[:_TOLD]


class Ages:
    """Tells which answers are old. Times are monotonic nanoseconds, but for an answer's own (unix seconds)."""

    def __init__(self, wall: float, now_ns: int) -> None:
        """`wall`: unix time at `now_ns`, by the clock of this machine."""
        self._wall_ns = int(wall * 1e9) - now_ns
        self._best: tuple[int, int] | None = None  # the freshest answer's lead, and when it was asked for

    def trouble(self, at: float, asked_ns: int) -> str:
        """Say why an answer of time `at` to a query of `asked_ns` is not fresh; nothing if it is."""
        lead = int(max(-1e12, min(1e12, at)) * 1e9) - asked_ns
        off = (lead - self._wall_ns) / SECOND_NS
        if abs(off) > OLDEST:
            when = f"{-off:,.0f} s old" if off < 0 else f"of a time {off:,.0f} s ahead"
            return f"the answer is {when}, by this machine's clock: do the clocks agree? Does a cache answer?"
        best = lead
        if self._best is not None:
            best = max(lead, self._best[0] - (asked_ns - self._best[1]) // DRIFT)
        self._best = best, asked_ns
        if best - lead > BEHIND_NS:
            return f"the answers' time stands still, {(best - lead) / SECOND_NS:.0f} s behind: does a cache answer?"
        return ""


class PrometheusSource:
    """Measures a rule by its query. Is a `replayer.safety.sources.Source`."""

    def __init__(
        self,
        rule: Rule,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Read what is needed to ask. Raises UserError."""
        if rule.prometheus is None:
            raise UserError(f"{rule}: no query of Prometheus is named")
        self._server = rule.prometheus
        self._lookback = rule.window
        self._clock = clock
        self._ages = Ages(wall(), clock())
        self._headers = {"accept-encoding": "identity", **_authorization(self._server, environ)}
        self._verify = _verify(self._server)
        self._asked_ns: int | None = None
        self._reading = Reading(None, 0, "Prometheus was not asked yet")

    def read(self, now_ns: int) -> Reading:
        """Give the newest answer, as long as it counts."""
        if self._asked_ns is not None and self._reading.value is not None:
            age = now_ns - self._asked_ns
            if age > FRESH_NS:
                return Reading(None, 0, f"Prometheus was last heard of {age / SECOND_NS:.1f} s ago")
        return self._reading

    async def follow(self) -> None:
        """Ask again and again, until cancelled."""
        async with self._client() as client:
            while True:
                began = self._clock()
                await self._ask(client)
                await asyncio.sleep(max(0.1, INTERVAL - (self._clock() - began) / SECOND_NS))

    async def once(self) -> Reading:
        """Ask once, and give what came of it. Raises nothing."""
        async with self._client() as client:
            await self._ask(client)
        return self.read(self._clock())

    def _client(self) -> httpx.AsyncClient:
        # No proxies of the environment, and no cookies or passwords from files: all that is sent stands here.
        return httpx.AsyncClient(headers=self._headers, verify=self._verify, trust_env=False, timeout=TIMEOUT)

    async def _ask(self, client: httpx.AsyncClient) -> None:
        asked_ns = self._clock()
        value: float | None = None
        try:
            async with asyncio.timeout(TIMEOUT):
                found = await self._answer(client)
            if isinstance(found, Sample):
                why = self._ages.trouble(found.at, asked_ns)
                value = None if why else found.value
            else:
                why = found
        except (TimeoutError, httpx.TimeoutException):
            why = f"Prometheus did not answer within {TIMEOUT:g} s"
        except httpx.HTTPError as error:
            why = f"Prometheus can't be asked: {_printable(str(error)) or type(error).__name__}"
        except Exception as error:  # noqa: BLE001 - whatever a server can do to its client, it is no data
            why = f"Prometheus can't be asked: {type(error).__name__}"
        self._asked_ns = asked_ns
        self._reading = Reading(value, 0 if value is None else 1, why or "by a query of Prometheus")

    async def _answer(self, client: httpx.AsyncClient) -> Sample | str:
        # Seconds without a unit: Prometheus reads fractions of them only so.
        asked = {"query": self._server.query, "timeout": f"{TIMEOUT:g}", "lookback_delta": f"{self._lookback:g}"}
        url = f"{self._server.url.rstrip('/')}/api/v1/query"
        if len(self._server.query) > LONGEST_URL:
            sending = client.stream("POST", url, data=asked)
        else:
            sending = client.stream("GET", url, params=asked)
        async with sending as response:
            if response.is_redirect:
                return f"Prometheus sends on to another address (status {response.status_code}): name that one"
            if response.status_code in (401, 403):
                return f"Prometheus wants to know who asks (status {response.status_code}): token_from or login_from"
            if response.headers.get("content-encoding", "identity") != "identity":
                return "Prometheus answers in an encoding that was not asked for"
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > MOST_BYTES:
                    return (
                        f"Prometheus answers with more than {MOST_BYTES // 1024} KiB: does the query give one value? "
                        "Put them together, with sum(...) or max(...)"
                    )
            return sample(response.status_code, bytes(body))


def _authorization(server: Prometheus, environ: Mapping[str, str]) -> dict[str, str]:
    """Make the header that says who asks. The secret is in the environment and nowhere else. Raises UserError."""
    name = server.token_from or server.login_from
    if name is None:
        return {}
    secret = environ.get(name, "")
    if not secret:
        raise UserError(f"prometheus {server.url}: the environment variable {name} is not set")
    if not secret.isascii() or not secret.isprintable():
        raise UserError(f"prometheus {server.url}: what {name} holds can't be sent: a line break at its end, perhaps")
    if server.token_from is not None:
        return {"authorization": f"Bearer {secret}"}
    if ":" not in secret:
        raise UserError(f"prometheus {server.url}: {name} has to hold a name and a password, like name:password")
    return {"authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}


def _verify(server: Prometheus) -> ssl.SSLContext | bool:
    """Make the context for TLS; False if there is none to make. Raises UserError."""
    return trusting(server.ca, "prometheus ca") if server.url.startswith("https:") else False
