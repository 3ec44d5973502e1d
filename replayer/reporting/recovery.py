"""The report of a run that wrote none: it was killed, or it still runs. Put together from what its folder holds.

The last second may be missing, and of each route the last part of a line's time (a thirtieth of the run). Of rules
there is what `replayer.safety.hindsight` can tell.
"""

import json
from pathlib import Path

from hdrh.histogram import HdrHistogram

from replayer.books.folder import read_report
from replayer.books.report import Lateness, Report, faults
from replayer.counting.bottleneck import Strain, bottleneck
from replayer.counting.latency import Quantiles, histogram, quantiles
from replayer.counting.series import totals
from replayer.plan import Plan
from replayer.reporting.findings import caveats, journal, recovered_left_out, recovered_routes, seconds
from replayer.reporting.histograms import read
from replayer.safety.hindsight import backing, judgements, past
from rules.exits import Exit, UserError
from rules.units import Share, UnitError

REASON = (
    "the run wrote no report: it still runs, or it was killed. This was put together from what was written until then"
)


def report_of(run: Path) -> Report:
    """Read a run's report, or put it together if the run wrote none. Raises UserError."""
    if (run / "plan.json").is_file() and not (run / "report.json").exists():
        return recovered(run)
    return read_report(run)


def recovered(folder: Path) -> Report:
    """Put a report together. Raises UserError if the folder is not a run's."""
    try:
        given = json.loads((folder / "plan.json").read_bytes())
        plan = Plan.model_validate(given)
    except (OSError, ValueError, RecursionError):
        raise UserError(f"{folder} holds neither a report.json nor a plan.json: is it a run's folder?") from None
    entries = list(journal(folder))
    facts = next((entry for entry in entries if entry.get("event") == "plan"), {})
    accounts = totals(seconds(folder))
    ended = max((second.end for second in seconds(folder)), default=0.0)
    found = histograms(folder)
    stalled = sum(_number(entry.get("seconds")) for entry in entries if entry.get("event") == "stalled")
    lagging = Lateness(plan, seconds(folder)).longest
    invalid = faults(plan, accounts, found["lag"], stalled, ended, lagging=lagging)
    started = _number(facts.get("at"))
    ruled = past(plan.slo, live=bool(plan.sidecars), entries=entries, seconds=seconds(folder))
    return Report(
        run=str(facts.get("run") or folder.name),
        plan=plan.model_dump(mode="json"),
        ceiling=_ceiling(facts.get("ceiling")),
        audience=str(facts.get("audience") or ""),
        started=started,
        ended=started + ended,
        seconds=ended,
        stalled=stalled,
        accounts=accounts,
        latency=found["latency"],
        service=found["service"],
        lag=found["lag"],
        wait=found["wait"],
        stop="killed",
        reason=REASON,
        valid=not invalid,
        invalid_because=invalid,
        bottleneck=bottleneck(
            Strain(seconds(folder)),
            invalid,
            found["lag"].p99,
            plan.lag_bound,
            plan.max_connections,
            accounts.shed["connections"],
        ),
        routes=recovered_routes(folder),
        left_out=recovered_left_out(folder, plan),
        caveats=caveats(plan, ended),
        slo=judgements(ruled),
        back_off=backing(ruled),
        exit_code=int(Exit.FAILED),
    )


def histograms(folder: Path) -> dict[str, Quantiles]:
    """Merge the histogram log's seconds, quantity by quantity."""
    found: dict[str, HdrHistogram] = {name: histogram() for name in ("latency", "service", "lag", "wait")}
    for tag, _, values in read(folder):
        if tag in found:
            found[tag].add(values)
    return {name: quantiles(values) for name, values in found.items()}


def _ceiling(value: object) -> Share | None:
    try:
        return Share.parse(str(value))
    except UnitError:
        return None  # an idle target has none


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
