"""Upsun's observability JSON: requests by URL and by grain, as its API and CLI give them. Pure.

Two answers hold them, both under ``/projects/{id}/environments/{id}/observability`` of the API (described in Upsun's
public OpenAPI specification as `http_metrics_overview` and `http_metrics_timeline_urls`):

- ``http-metrics/overview``: ``data.urls`` has the top URLs by impact (10, at most 100), and ``data.timelines`` the
  requests to each of them in each grain.
- ``http/breakdown/urls``: ``breakdown.data`` has up to 300 URLs. Those with ``top_hit`` (at most 15) have their counts
  over time in ``top_hits_timeline.data``; of the others only the sum is known, and they are taken to have come as all
  that has no timeline of its own did.

In both, each grain's ``codes`` count all its requests by the class of their answers: what is more than its URLs is
traffic outside of the top URLs. Times are in milliseconds (here: seconds), impact is response time x count, timestamps
are unix seconds at the beginning of a grain. `response_size` is taken to be the bytes of all of a grain's answers.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, FailFast, Field

from captures.exchange.http1 import split_url
from captures.moments import SECOND
from drill.sources import documents
from drill.sources.rates import Rates, Route, ensure_room
from rules.exits import UserError

Count = Annotated[int, Field(ge=0, le=10**12)]
Milliseconds = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Moment = Annotated[int, Field(ge=0, le=10**14)]

_MILLISECONDS_FROM = 10**11
"""A timestamp from here on is in milliseconds: in seconds it would be in the year 5138."""

_FILTERS = ("applications", "methods", "domains", "code_slots", "codes", "request_duration_slots")
"""By these the breakdown can be asked for a part of the traffic."""

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
CLASSES = ("1XX", "2XX", "3XX", "4XX", "5XX", "UNKNOWN")


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _Url(_Model):
    url: str = Field(max_length=65536)
    method: str = Field("GET", pattern=r"^[!-~]{1,64}$")
    count: Count
    average: Milliseconds | None = None
    p50: Milliseconds | None = Field(None, validation_alias=AliasChoices("p_50", "p50"))
    p96: Milliseconds | None = Field(None, validation_alias=AliasChoices("p_96", "p96"))
    top_hit: bool = True


class _Hits(_Model):
    count: Count
    impact: Milliseconds | None = None


class _Moment(_Model):
    timestamp: Moment
    urls: dict[str, _Hits] | list[Any] | None = None
    """A list where there are none: PHP has one kind of empty array."""
    codes: dict[str, Count] | list[Any] | None = None
    total_count: Count | None = None
    response_size: Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)] | None = None

    def hits(self) -> Mapping[str, _Hits]:
        return self.urls if isinstance(self.urls, dict) else {}

    def answers(self) -> Mapping[str, int]:
        told = self.codes if isinstance(self.codes, dict) else {}
        known = {name: told[name] for name in CLASSES if name in told}
        strange = sum(count for name, count in told.items() if name not in CLASSES)
        return {**known, "UNKNOWN": known.get("UNKNOWN", 0) + strange} if strange else known


_Moments = Annotated[list[_Moment], FailFast()]


class _Data(_Model):
    urls: dict[str, _Url] | list[Any] = {}
    timelines: _Moments


class _Breakdown(_Model):
    data: Annotated[list[_Url], FailFast()]


class _Timeline(_Model):
    data: _Moments


class _Answer(_Model):
    grain: int = Field(validation_alias="_grain", gt=0, le=10**7)
    from_: Moment | None = Field(None, validation_alias="_from")
    to: Moment | None = Field(None, validation_alias="_to")
    environment: str = Field("", validation_alias="_environment_type", max_length=1000)
    top: int | None = Field(None, validation_alias="_top_urls_count")
    applications: list[Any] | None = Field(None, validation_alias="_applications")
    methods: list[Any] | None = Field(None, validation_alias="_methods")
    domains: list[Any] | None = Field(None, validation_alias="_domains")
    code_slots: list[Any] | None = Field(None, validation_alias="_code_slots")
    codes: list[Any] | None = Field(None, validation_alias="_codes")
    request_duration_slots: list[Any] | None = Field(None, validation_alias="_request_duration_slots")
    data: _Data | None = None
    breakdown: _Breakdown | None = None
    top_hits_timeline: _Timeline | None = None


def looks_like(start: bytes) -> bool:
    """Tell whether a file begins like one of the two answers."""
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    told = all(name in head for name in (b'"_grain"', b'"_from"'))
    # What they hold may stand before what was asked for, and be long.
    held = b'"impact"' in head and any(name in head for name in (b'"urls"', b'"breakdown"', b'"top_hits_timeline"'))
    return head.startswith(b"{") and (told or held)


def read(text: bytes) -> Rates:
    """Read either answer. Raises UserError."""
    answer = documents.read(text, _Answer, "Upsun's")
    if answer.data is not None:
        urls = answer.data.urls if isinstance(answer.data.urls, dict) else {}
        return _rates(answer, urls, answer.data.timelines)
    if answer.breakdown is not None and answer.top_hits_timeline is not None:
        listed = {f"{url.method}-{url.url}": url for url in answer.breakdown.data}
        return _rates(answer, listed, answer.top_hits_timeline.data)
    raise UserError(
        "it is neither Upsun's http-metrics/overview (it has no data.timelines) nor its http/breakdown/urls "
        "(it has no top_hits_timeline)"
    )


def _rates(answer: _Answer, urls: Mapping[str, _Url], moments: list[_Moment]) -> Rates:
    """Lay what was told out by grains."""
    grain = answer.grain
    by_time = _by_time(moments, grain)
    begin = min(by_time)
    count = (max(by_time) - begin) // grain + 1
    timed = {key for moment in moments for key in moment.hits()}
    ensure_room(len(timed | urls.keys()), count)
    laid: list[_Moment | None] = [by_time.get(begin + number * grain) for number in range(count)]
    totals = [_total(moment) for moment in laid]
    notes: list[str] = []
    named = {**urls, **{key: _unlisted(key) for key in timed - urls.keys()}}
    routes = [_timed(named[key], key, laid) for key in sorted(timed)]
    inside = [math.fsum(route.counts[number] for route in routes) for number in range(count)]
    rest = [max(0.0, total - known) for total, known in zip(totals, inside, strict=True)]
    untimed = [urls[key] for key in sorted(urls.keys() - timed) if urls[key].count]
    routes += _untimed(untimed, rest, totals, notes)
    if differing := [key for key in sorted(timed & urls.keys()) if _differs(urls[key].count, laid, key)]:
        notes.append(
            f"the counts of {len(differing)} URLs differ from the sums of their timelines, which are taken: "
            + ", ".join(differing[:3])
        )
    if answer.environment and answer.environment != "production":
        notes.append(f"what was measured is no production: the environment's type is {answer.environment!r}")
    if filters := [name for name in _FILTERS if getattr(answer, name)]:
        notes.append(f"it was asked for a part of the traffic only (by {', '.join(filters)}), and tells of no other")
    if missing := sum(moment is None for moment in laid):
        notes.append(f"{missing} of {count} grains are not in the timeline: no request is taken to have come in them")
    # A sum that is all inside may be rounded up to more than a grain's total.
    inside = [math.fsum(route.counts[number] for route in routes) for number in range(count)]
    return Rates(
        begin_ns=begin * SECOND,
        grain_ns=grain * SECOND,
        routes=tuple(routes),
        totals=tuple(map(max, totals, inside)),
        codes=tuple({} if moment is None else dict(moment.answers()) for moment in laid),
        notes=tuple(notes),
        sizes=tuple(0.0 if moment is None else moment.response_size or 0.0 for moment in laid),
    )


def _by_time(moments: Iterable[_Moment], grain: int) -> dict[int, _Moment]:
    """Give the moments by their second. Raises UserError."""
    found: dict[int, _Moment] = {}
    for moment in moments:
        at = moment.timestamp // 1000 if moment.timestamp >= _MILLISECONDS_FROM else moment.timestamp
        if at in found:
            raise UserError(f"its timeline has the moment {at} twice")
        found[at] = moment
    if not found:
        raise UserError("its timeline is empty: ask for a time in which there were requests")
    first = min(found)
    if any((at - first) % grain for at in found):
        raise UserError(f"its timeline does not go in steps of its grain of {grain} s")
    return found


def _total(moment: _Moment | None) -> float:
    if moment is None:
        return 0.0
    inside = sum(hits.count for hits in moment.hits().values())
    return float(max(inside, sum(moment.answers().values()), moment.total_count or 0))


def _differs(count: int, laid: list[_Moment | None], key: str) -> bool:
    return count != sum(moment.hits()[key].count for moment in laid if moment is not None and key in moment.hits())


def _unlisted(key: str) -> _Url:
    """Understand a URL of which only the key is known: ``GET-https://shop.example/``. Raises UserError."""
    method, dash, url = key.partition("-")
    if not dash or method not in METHODS:
        raise UserError(f"it has a URL in its timeline that it does not tell of: {key[:80]!r}")
    return _Url(url=url, method=method, count=0)


def _route(url: _Url, counts: Iterable[float]) -> Route:
    scheme, authority, path = _place(url.url)
    quantiles = {"p50": url.p50, "p96": url.p96}
    return Route(
        method=url.method,
        scheme=scheme,
        authority=authority,
        path=path,
        counts=tuple(counts),
        mean=None if url.average is None else url.average / 1000,
        quantiles=tuple((name, value / 1000) for name, value in quantiles.items() if value is not None),
    )


def _place(url: str) -> tuple[str, str, str]:
    """Give scheme, host and path of a URL, or of a path alone. Raises UserError."""
    if url.startswith("/"):
        return "", "", url.partition("#")[0]
    try:
        return split_url(url if "://" in url else f"https://{url}")
    except ValueError as error:
        raise UserError(str(error)) from None


def _timed(url: _Url, key: str, laid: Iterable[_Moment | None]) -> Route:
    """Make a route of a URL whose counts over time are known."""
    hits = [moment.hits().get(key) if moment is not None else None for moment in laid]
    route = _route(url, (float(one.count) if one else 0.0 for one in hits))
    if any(one.count and one.impact is None for one in hits if one):
        return route
    return route._replace(busy=tuple((one.impact or 0.0) / 1000 if one else 0.0 for one in hits))


def _untimed(urls: list[_Url], rest: list[float], totals: list[float], notes: list[str]) -> list[Route]:
    """Make routes of URLs of which only the sum is known: they came as all else that has no timeline did."""
    every = math.fsum(rest)
    shape = [one / every for one in rest] if every else []
    if urls and not shape:
        spread = math.fsum(totals)
        shape = [one / spread for one in totals] if spread else [1 / len(totals)] * len(totals)
    if urls:
        count = sum(url.count for url in urls)
        notes.append(
            f"of {len(urls)} URLs with {count:,} requests only the sum is known: they are taken to have come over time "
            + ("as all did that has no timeline of its own" if every else "as all requests did")
        )
    return [_route(url, (url.count * share for share in shape))._replace(known="sum") for url in urls]
