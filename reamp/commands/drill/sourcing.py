"""What was said of an incident's source, understood: for all commands that take one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import TaskProgressColumn

from captures.moments import HOW
from reamp.commands.captures.shared import progress
from rules.exits import UserError
from rules.units import Duration, UnitError

if TYPE_CHECKING:
    from drill.sources.wanted import Drawing, Wanted

TIME, CHOICE, SECRETS, RATES = "Which time", "Which requests", "Secrets", "Where only rates are known"

Sources = Annotated[
    list[Path],
    typer.Argument(metavar="SOURCE...", help="A capture's folder, or files of what is left of the incident."),
]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help=f"When the incident begins. TIME is {HOW}.", rich_help_panel=TIME),
]
To = Annotated[
    str | None,
    typer.Option("--to", "--until", metavar="TIME", help="When it ends.", rich_help_panel=TIME),
]
AroundPeak = Annotated[
    str | None,
    typer.Option(
        "--around-peak",
        metavar="DURATION",
        help="So much time in all around the worst moment, found from rate and errors: 10m.",
        rich_help_panel=TIME,
    ),
]
ArrivalRate = Annotated[
    str | None,
    typer.Option("--rate", metavar="RATE", help="At which they came, for formats without times (vegeta, curl): 100/s."),
]
Only = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="FILTER",
        help="Only what matches, in mitmproxy's filter language: '~m POST & ~u /api'.",
        rich_help_panel=CHOICE,
    ),
]
Except = Annotated[
    str | None,
    typer.Option("--except", metavar="FILTER", help="Not what matches: '~u /healthz'.", rich_help_panel=CHOICE),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", help="What is drawn is drawn with it: same seed, same incident.")
]


FillFrom = Annotated[
    list[Path] | None,
    typer.Option(
        "--fill-from",
        metavar="SOURCE",
        help="Real requests (a capture, a log, a HAR) that fill in what rates do not tell: parameters of paths, "
        "queries, headers, bodies, and traffic outside of the routes that are known. Repeatable.",
        rich_help_panel=RATES,
    ),
]
ValueTables = Annotated[
    list[str] | None,
    typer.Option(
        "--values",
        metavar="[ROUTE=]FILE",
        help="Values of parameters: CSV whose columns are named as they are, and weight if some come more often. "
        "Of one route only: '/product/{id}=ids.csv'. Repeatable.",
        rich_help_panel=RATES,
    ),
]
LeaveOutUnfilled = Annotated[
    bool,
    typer.Option(
        "--leave-out-unfilled",
        help="Leave routes out whose parameters nothing fills, instead of refusing.",
        rich_help_panel=RATES,
    ),
]
ScaleToTotal = Annotated[
    bool,
    typer.Option(
        "--scale-to-total",
        help="Scale the known routes up to all traffic, where a source knows more requests than it tells the URLs of.",
        rich_help_panel=RATES,
    ),
]
Smooth = Annotated[
    bool,
    typer.Option(
        "--smooth",
        help="Let rates change within a step as its neighbours suggest; no step's count changes.",
        rich_help_panel=RATES,
    ),
]
Lasted = Annotated[
    str | None,
    typer.Option(
        "--duration",
        metavar="DURATION",
        help="How long a table of url,count counted: 30m.",
        rich_help_panel=RATES,
    ),
]
RouteLabel = Annotated[
    str,
    typer.Option("--route-label", metavar="NAME", help="Prometheus' label of the route.", rich_help_panel=RATES),
]
MethodLabel = Annotated[
    str, typer.Option("--method-label", metavar="NAME", help="And of the method.", rich_help_panel=RATES)
]
StatusLabel = Annotated[
    str, typer.Option("--status-label", metavar="NAME", help="And of the status.", rich_help_panel=RATES)
]
SeriesAre = Annotated[
    str | None,
    typer.Option(
        "--series",
        metavar="KIND",
        help="What Prometheus' values are: counter, rate or increase; by default told by the name.",
        rich_help_panel=RATES,
    ),
]


def understood(given: Mapping[str, Any]) -> "Wanted":
    """Make what is wanted of a source of what was given to `drill from`, by the names of its parameters.

    Raises UserError.
    """
    from captures.keyring import Recipients, load_identities, recipient_keys
    from drill.sources.wanted import Wanted
    from reamp.commands.captures.reading import asked_for_incident, asked_of, redactor_of
    from reamp.commands.choosing import chosen

    only, but, rate, start = given["only"], given["but"], given["rate"], given["start"]
    asked = asked_of(given["format_"], given["log_format"], given["authority"], given["scheme"], rate, start)
    return Wanted(
        from_=given["from_"],
        to=given["to"],
        around_peak=_duration("--around-peak", given["around_peak"]),
        only=only,
        but=but,
        matches=chosen(only, but),
        identities=load_identities(given["identity"] or ()),
        recipients=Recipients(recipient_keys(given["encrypt_to"] or ())),
        asked=asked_for_incident(asked, rate, start, given["seed"]),
        redactor=partial(
            redactor_of, given["redaction_key"], given["redaction_rules"], no_redaction=given["no_redaction"]
        ),
        drawing=_drawing(given),
        seed=given["seed"],
        telling=_telling,
    )


def _drawing(given: Mapping[str, Any]) -> "Drawing":
    """Understand what was said of sources that know rates only. Raises UserError."""
    from drill.sources.wanted import Drawing

    if (series := given["series"]) not in {None, "counter", "rate", "increase"}:
        raise UserError(f"--series: {series!r} is none of counter, rate and increase")
    return Drawing(
        fill_from=tuple(given["fill_from"] or ()),
        values=tuple(given["values"] or ()),
        leave_out_unfilled=given["leave_out_unfilled"],
        scale_to_total=given["scale_to_total"],
        smooth=given["smooth"],
        duration=_duration("--duration", given["lasted"]),
        route_label=given["route_label"],
        method_label=given["method_label"],
        status_label=given["status_label"],
        series=series,
    )


@contextmanager
def _telling(what: str, of: int | None) -> Iterator[Callable[[int], None]]:
    """Draw a bar, on standard error if that is a terminal."""
    with progress(TaskProgressColumn(), "{task.description}") as bar:
        task = bar.add_task(what, total=of)
        yield lambda reached: bar.update(task, completed=reached)


def _duration(option: str, text: str | None) -> Duration | None:
    try:
        return None if text is None else Duration.parse(text)
    except UnitError as error:
        raise UserError(f"{option}: {error}") from None
