"""`reamp drill from`: from whatever is left of an incident to its file."""

import json
from pathlib import Path
from typing import Annotated

import typer

from reamp.commands.captures.reading import (
    DEFAULT_KEY,
    Authority,
    FormatName,
    LogFormat,
    NoRedaction,
    RedactionKey,
    RedactionRules,
    Scheme,
    TimesStart,
)
from reamp.commands.captures.shared import AsJson, EncryptTo, Identity, tidily, to_console
from reamp.commands.drill.outlining import outlined, show
from reamp.commands.drill.sourcing import (
    AroundPeak,
    ArrivalRate,
    Except,
    FillFrom,
    From,
    Lasted,
    LeaveOutUnfilled,
    MethodLabel,
    Only,
    RouteLabel,
    ScaleToTotal,
    Seed,
    SeriesAre,
    Smooth,
    Sources,
    StatusLabel,
    To,
    ValueTables,
    understood,
)


def from_(
    sources: Sources,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The incident's file to write.")],
    from_: From = None,
    to: To = None,
    around_peak: AroundPeak = None,
    only: Only = None,
    but: Except = None,
    format_: FormatName = None,
    log_format: LogFormat = None,
    authority: Authority = "",
    scheme: Scheme = "http",
    rate: ArrivalRate = None,
    start: TimesStart = None,
    fill_from: FillFrom = None,
    values: ValueTables = None,
    leave_out_unfilled: LeaveOutUnfilled = False,
    scale_to_total: ScaleToTotal = False,
    smooth: Smooth = False,
    lasted: Lasted = None,
    route_label: RouteLabel = "",
    method_label: MethodLabel = "",
    status_label: StatusLabel = "",
    series: SeriesAre = None,
    redaction_key: RedactionKey = DEFAULT_KEY,
    redaction_rules: RedactionRules = None,
    no_redaction: NoRedaction = False,
    seed: Seed = 1,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    identity: Identity = None,
    encrypt_to: EncryptTo = None,
    as_json: AsJson = False,
) -> None:
    """Take an incident from whatever is left of it: its requests, and what came back.

    The file is a capture of one segment, so all that reads captures reads it: reamp captures stats, reamp replay.

    Examples:

        reamp drill from ./recordings --from 14:02 --to 14:31 -o incident.reamp

        reamp drill from ./recordings --around-peak 10m -o incident.reamp

        reamp drill from access.log.gz --around-peak 10m --authority shop.example -o incident.reamp

        reamp drill from upsun.json --from 14:02 --to 14:31 --fill-from ./recordings -o incident.reamp

        reamp drill from range.json --route-label handler --values ids.csv --authority shop.example -o incident.reamp

        reamp drill from counts.csv --duration 30m --authority shop.example -o incident.reamp
    """
    wanted = understood(locals())._replace(force=force)
    from drill.sources.taking import take

    with tidily():
        story = take(sources, wanted, output)
    found = outlined(output, wanted)
    if as_json:
        told = story.model_dump(mode="json") if found is None else found.model_dump(mode="json")
        typer.echo(json.dumps({"output": str(output), **told}, indent=2))
        return
    if found is not None:
        show(found, to_console())
    typer.echo(f"written{', encrypted' if wanted.recipients else ''}: {output}")
