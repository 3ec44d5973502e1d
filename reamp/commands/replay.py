"""`reamp replay` and `reamp report`: play a recording back, louder; print what came of it."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from captures.moments import HOW
from reamp.settings import effective
from rules.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console

    from replayer.books.report import Report
    from replayer.plan import Plan

_TARGET, _LOAD, _REQUESTS, _ANSWERS = "Target, key and ceiling", "How much", "Requests", "Answers"
_WHEN, _PEOPLE, _SAFETY, _PREFLIGHT = "When", "People", "What users get", "Preflight"
_WIRE, _SENDER = "Connections", "Sender"

_SETTINGS = {"sidecar": "sidecars", "but": "except_"}
"""Parameters of `replay` that are not called as the setting is."""


def replay(
    recording: Annotated[
        Path | None, typer.Argument(metavar="RECORDING", help="Folder or file that a sidecar recorded.")
    ] = None,
    identity: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            envvar="REAMP_IDENTITY",
            help="Secret key, of age or SSH, that opens an encrypted recording; may be repeated.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="URL", help="URL of the target, e.g. http://127.0.0.1:8080.", rich_help_panel=_TARGET),
    ] = None,
    sidecar: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Control port of the sidecar before the target; may be repeated. Only what it grants is sent.",
            rich_help_panel=_TARGET,
        ),
    ] = None,
    idle_target: Annotated[
        bool | None,
        typer.Option("--idle-target", help="The target carries no real users: no ceiling.", rich_help_panel=_TARGET),
    ] = None,
    allowed_targets: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="List of hosts that load may go to, one on a line; /etc/reamp/targets binds every run.",
            rich_help_panel=_TARGET,
            show_default="any",
        ),
    ] = None,
    ceiling: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Most extra traffic, as a share of real traffic. Can only lower the sidecar's own.",
            rich_help_panel=_TARGET,
        ),
    ] = None,
    signal_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Wait this long for a lost signal, sending nothing.",
            rich_help_panel=_TARGET,
            show_default="10s",
        ),
    ] = None,
    amplify: Annotated[
        str | None,
        typer.Option(
            metavar="FACTOR",
            help="The factor, from 0.01x to 1000x. Of live traffic the total's: 1.25x adds a quarter.",
            rich_help_panel=_LOAD,
            show_default="1x of a recording",
        ),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(
            metavar="live|recording",
            help="What is multiplied: live (real traffic now) or recording (its own timeline). ",
            rich_help_panel=_LOAD,
            show_default="live with a --sidecar",
        ),
    ] = None,
    top_up: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Fill real traffic up to a rate, like 500/s.", rich_help_panel=_LOAD),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="Send the recording's requests in their order at this rate, like 200/s, at random (Poisson) times.",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    even: Annotated[
        bool | None,
        typer.Option("--even", help="The requests of --rate come evenly apart instead.", rich_help_panel=_LOAD),
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DURATION:FACTOR",
            help="Factor for some time, like 5m:1.05x, or a ramp, 5m:1x..2x; repeat it for what follows.",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How long.",
            rich_help_panel=_LOAD,
            show_default="as long as the stages or the recording last",
        ),
    ] = None,
    max_requests: Annotated[
        int | None,
        typer.Option(metavar="N", help="End after so many requests.", rich_help_panel=_LOAD, show_default="no bound"),
    ] = None,
    sessions: Annotated[
        str | None,
        typer.Option(
            metavar="BY",
            help="Multiply whole sessions, each copy as somebody else. BY: auto, address, cookie:NAME or header:NAME.",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    loop: Annotated[
        bool | None,
        typer.Option("--loop", help="Play the recorded timeline over and over.", rich_help_panel=_LOAD),
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'DAYS HH:MM-HH:MM ZONE'",
            help="Run only then: 'Sat,Sun 02:00-05:00 Europe/London', 'Mon-Fri 22:00-04:00 UTC' (over midnight), "
            "'daily ...'; may be repeated. Exit code 92 outside of it, at once.",
            rich_help_panel=_WHEN,
            show_default="at any time",
        ),
    ] = None,
    not_window: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'DAYS HH:MM-HH:MM ZONE'",
            help="Do not run then, whatever --window says; may be repeated.",
            rich_help_panel=_WHEN,
        ),
    ] = None,
    holidays: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="No run on these days, from midnight to midnight where the --window is: lines like 2026-12-25, "
            "# begins a comment; or an iCalendar file (.ics), each day that an event touches.",
            rich_help_panel=_WHEN,
        ),
    ] = None,
    max_time: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="End after so long, counted from the start of the run, whatever is left: waiting is included.",
            rich_help_panel=_WHEN,
            show_default="no bound",
        ),
    ] = None,
    slo: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'RULE'",
            help="What requests have to get: 'p(95)<500ms window=10s for=5s action=back-off'; 'error_ratio<1%' (action "
            "abort, exit code 99), 'p(99)<1.1x baseline'; synthetic.p(95) is about the run's own; may be repeated.",
            rich_help_panel=_SAFETY,
        ),
    ] = None,
    warm_up: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Learn for so long, before anything is sent, what users get without load: the baseline.",
            rich_help_panel=_SAFETY,
        ),
    ] = None,
    announce: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Tell people of the run at this Apprise URL: slack://..., mailtos://..., json://...; may be repeated. "
            "It holds secrets, and everybody on this machine sees a command line (ps): better give "
            "REAMP_REPLAY_ANNOUNCE or --announce-file.",
            rich_help_panel=_PEOPLE,
        ),
    ] = None,
    announce_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="More such URLs, one a line; the file may be readable by its owner only.",
            rich_help_panel=_PEOPLE,
        ),
    ] = None,
    announce_before: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Print and send a notice with how to stop it, wait so long, then start.",
            rich_help_panel=_PEOPLE,
        ),
    ] = None,
    announce_required: Annotated[
        bool | None,
        typer.Option(
            "--announce-required",
            help="Do not start, and do not go on, if somebody can't be told.",
            rich_help_panel=_PEOPLE,
            show_default="say so and go on",
        ),
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Who runs it, for the journal and for announcements.",
            rich_help_panel=_PEOPLE,
            show_default="the user of the system",
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help=f"Replay only what arrived from then on. TIME is {HOW}.",
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Replay only what arrived before then.", rich_help_panel=_REQUESTS),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Replay only what matches, in mitmproxy's filter language: '~u /api & !~u /api/pay'.",
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    but: Annotated[
        str | None,
        typer.Option("--except", metavar="FILTER", help="Do not replay what matches.", rich_help_panel=_REQUESTS),
    ] = None,
    squeeze: Annotated[
        bool | None,
        typer.Option("--squeeze", help="Divide recorded times instead of adding arrivals.", rich_help_panel=_LOAD),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Same seed, same replay.", rich_help_panel=_LOAD, show_default="1")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD,...",
            help="Methods that may be sent; those that only read.",
            rich_help_panel=_REQUESTS,
            show_default="GET,HEAD,OPTIONS",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'METHOD ROUTE'",
            help="Send writes of this route too: 'POST /cart/{id}', as --dry-run lists them; may be repeated.",
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="HOST",
            help="Host header: target, recorded, or a name.",
            rich_help_panel=_REQUESTS,
            show_default="target",
        ),
    ] = None,
    set_header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME: VALUE'",
            help="Send this header, in the place of a recorded one of its name; may be repeated.",
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    remove_header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Leave out this recorded header, or several: X-Forwarded-*; may be repeated.",
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    keep_header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Send this header as recorded, though it would be left out or renewed (traceparent); may be repeated.",
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    renew_header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Give this header a new value in every request, as idempotency keys have it; may be repeated.",
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    token_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VARIABLE",
            help="Authorize with the token in this environment variable; 'X-Api-Key: VARIABLE' for another header.",
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    rewrite: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'REGEX => NEW'",
            help=r"Replace every match in a path (with its query): '^/v1/(\w+) => /v2/\1'; may be repeated, in order.",
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    plugin: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Python function that changes each request or leaves it out (docs/replay.md).",
            rich_help_panel=_REQUESTS,
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Private key that signs the load tag (reamp keygen).", rich_help_panel=_TARGET
        ),
    ] = None,
    audience: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Whom the load tag is for.",
            rich_help_panel=_TARGET,
            show_default="what the sidecar says",
        ),
    ] = None,
    tag_lifetime: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="How long a load tag is valid.", rich_help_panel=_TARGET, show_default="1m"
        ),
    ] = None,
    connect_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="Longest wait for a connection.", rich_help_panel=_WIRE, show_default="5s"
        ),
    ] = None,
    first_byte_timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Longest wait for an answer to begin.",
            rich_help_panel=_WIRE,
            show_default="none but --timeout",
        ),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="Longest wait for a whole answer.", rich_help_panel=_WIRE, show_default="30s"
        ),
    ] = None,
    max_connections: Annotated[
        int | None,
        typer.Option(metavar="N", help="Most connections to the target.", rich_help_panel=_WIRE, show_default="256"),
    ] = None,
    http2: Annotated[
        bool | None,
        typer.Option(
            "--http2/--no-http2",
            help="Demand HTTP/2 (of http:// by prior knowledge), or keep to HTTP/1.1.",
            rich_help_panel=_WIRE,
            show_default="where TLS agrees to it",
        ),
    ] = None,
    resolve: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT:ADDRESS",
            help="Connect to this address for that host, as with curl; may be repeated.",
            rich_help_panel=_WIRE,
        ),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Client certificate to show (PEM, with its chain).", rich_help_panel=_WIRE),
    ] = None,
    cert_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Key of the client certificate.",
            rich_help_panel=_WIRE,
            show_default="in the same file",
        ),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate authorities to trust (PEM).", rich_help_panel=_WIRE)
    ] = None,
    control_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Certificate authorities to trust at control ports.",
            rich_help_panel=_WIRE,
            show_default="as --ca",
        ),
    ] = None,
    insecure: Annotated[
        bool | None,
        typer.Option("--insecure", help="Do not verify the target's certificate.", rich_help_panel=_WIRE),
    ] = None,
    max_lag: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Shed a request that is later than this.",
            rich_help_panel=_SENDER,
            show_default="100ms",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Processes that send, each on a core of its own; the schedule, the ceiling and the report stay one.",
            rich_help_panel=_SENDER,
            show_default="1",
        ),
    ] = None,
    lane: Annotated[
        str | None,
        typer.Option(
            metavar="native|python|auto",
            help="What sends: native (C, plain HTTP/1.1 only), python (all there is), auto.",
            rich_help_panel=_SENDER,
            show_default="auto",
        ),
    ] = None,
    diff: Annotated[
        str | None,
        typer.Option(
            metavar="ASPECT,...",
            help="Compare answers: status,size with the recording; body-hash,json too with --diff-against.",
            rich_help_panel=_ANSWERS,
        ),
    ] = None,
    diff_against: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="An idle reference that answers as it should (the old version).",
            rich_help_panel=_ANSWERS,
        ),
    ] = None,
    diff_rate: Annotated[
        str | None,
        typer.Option(
            metavar="RATE", help="How many requests are compared.", rich_help_panel=_ANSWERS, show_default="10/s"
        ),
    ] = None,
    preflight: Annotated[
        bool | None,
        typer.Option(
            "--preflight/--no-preflight",
            help="Try on a live target that what keeps it safe works, before any load, or don't (reamp preflight).",
            rich_help_panel=_PREFLIGHT,
            show_default="try",
        ),
    ] = None,
    skip_check: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Leave out this check of it, like lever; may be repeated.",
            rich_help_panel=_PREFLIGHT,
        ),
    ] = None,
    canary: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Path to ask for; nothing may change by it.",
            rich_help_panel=_PREFLIGHT,
            show_default="the recording's most frequent GET",
        ),
    ] = None,
    echo: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="The app answers there with the headers it got.", rich_help_panel=_PREFLIGHT),
    ] = None,
    app_header: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The app sets this header in answers to tagged requests.", rich_help_panel=_PREFLIGHT
        ),
    ] = None,
    app_metric: Annotated[
        str | None,
        typer.Option(
            metavar="URL#NAME",
            help="This metric of the app counts tagged requests: http://app:9000/metrics#load_requests_total.",
            rich_help_panel=_PREFLIGHT,
        ),
    ] = None,
    downstream_header: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Answers have this header once a service behind the app saw the tag.",
            rich_help_panel=_PREFLIGHT,
        ),
    ] = None,
    downstream_metric: Annotated[
        str | None,
        typer.Option(
            metavar="URL#NAME",
            help="This metric of a service behind the app counts tagged requests.",
            rich_help_panel=_PREFLIGHT,
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Serve Prometheus metrics at HOST:PORT.", rich_help_panel=_SENDER),
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the run's folder goes.", rich_help_panel=_SENDER, show_default="runs"),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write JUnit XML for CI here, too.", rich_help_panel=_SENDER)
    ] = None,
    dry_run: Annotated[
        bool | None, typer.Option("--dry-run", help="Check everything, say what would be sent, send nothing.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Configuration file.", show_default="reamp.yaml, if there")
    ] = None,
) -> None:
    r"""Play a recording back, louder, and never past a ceiling tied to real traffic.

    Raise live traffic by a quarter, for as long as the sidecar sees it and grants it:

        reamp replay recordings --to http://shop:8080 --key load.key \
          --sidecar http://shop:8901 --amplify 1.25x

    The same, eased off when users get slower, ended when they get errors, and only by night:

        reamp replay recordings --to http://shop:8080 --key load.key \
          --sidecar http://shop:8901 --amplify 1.25x --duration 1h \
          --slo 'p(95)<400ms window=10s action=back-off' --slo 'error_ratio<1%' \
          --window 'Mon-Fri 01:00-05:00 Europe/London'

    Play the recording onto a staging clone as it was, or three times as loud:

        reamp replay recordings --to http://staging:8000 --key load.key --idle-target
        reamp replay recordings --to http://staging:8000 --key load.key --idle-target --amplify 3x

    An hour of it, without health checks, over and over, louder in steps:

        reamp replay recordings --to http://staging:8000 --key load.key --idle-target \
          --from 14:00 --until 15:00 --except '~u /healthz' \
          --loop --stage 10m:1x --stage 10m:2x --stage 20m:2x..5x

    Writes too, on routes that are named, as another user, with the paths of the next version:

        reamp replay recordings --to http://staging:8000 --key load.key --idle-target \
          --allow 'POST /cart/{id}' --token-from STAGING_TOKEN --rewrite '^/v1/ => /v2/'

    See first what would happen: add **--dry-run**. Ctrl-C stops at once and still writes the report. Onto a live target
    the checks of **reamp preflight** come first; if one fails, nothing is sent.

    A DURATION is written 10s or 1h30m, a RATE 200/s, a FACTOR 1.25x, a SHARE 25%. All of it may stand in reamp.yaml and
    in the environment, too: replay.max_lag, REAMP_REPLAY_MAX_LAG.

    Exit codes: 0 done; 90 live signal lost; 91 lever pulled; 92 outside its window, or its key is over; 93 invalid, the
    sender lagged; 94 a check of the preflight failed, nothing was sent; 99 a rule was broken (--slo); 104 a mistake in
    the settings, nothing was sent; 105 stopped by a signal; 1 anything else.
    """
    plan = plan_of(locals())
    import uvloop

    from replayer.progress import screen
    from replayer.reporting.writing import write_beside

    console = screen()
    done = uvloop.run(_replay(plan, console))
    if done is not None:
        folder = plan.runs / done.run
        report = write_beside(done, folder, plan.junit)
        _print(console, report)
        if (folder / "report.html").exists():
            console.print(f"written to {folder}, look at report.html", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(report.exit_code)


def plan_of(given: Mapping[str, Any]) -> "Plan":
    """Make the plan of what was given to `replay`, by the names of its parameters. Raises UserError."""
    from replayer.plan import Plan

    flags = {_SETTINGS.get(name, name): value for name, value in given.items() if name != "config"}
    return effective(Plan, "replay", flags, given["config"], {"sidecars": "--sidecar", "slo": "--slo"})


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, like runs/20261121-210305-k3f9.")],
    against: Annotated[
        Path | None, typer.Option(metavar="RUN2", help="Folder of another run: tell what changed since then.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with charts, that needs no network.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML for CI.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print report.json, or the comparison, in place of tables.")
    ] = False,
) -> None:
    """Print what came of a run, from its folder; of one that was killed, what was written until then.

    What changed between two runs, route by route, and whether it is more than noise:

        reamp report runs/20261121-210305-k3f9 --against runs/20261120-090000-abcd

    Everything can be written again from the folder:

        reamp report runs/20261121-210305-k3f9 --html report.html --junit junit.xml
    """
    from replayer.progress import comparison, screen
    from replayer.reporting.junit import junit as junit_of
    from replayer.reporting.recovery import report_of
    from replayer.reporting.versus import compared
    from replayer.reporting.writing import page_of, write_to

    found = report_of(run)
    change = None if against is None else compared(run, against)
    if html is not None:
        write_to(html, page_of(found, run, change))
    if junit is not None:
        write_to(junit, junit_of(found, change))
    if as_json:
        typer.echo((found if change is None else change).model_dump_json(indent=2))
    elif change is not None:
        console = screen()
        console.print(comparison(change))
        for difference in change.differences:
            console.print(f"- {difference}", markup=False, highlight=False)
    else:
        _print(screen(), found)


async def _replay(plan: "Plan", console: "Console") -> "Report | None":
    from reamp.commands.choosing import chosen
    from replayer.books.folder import Folder
    from replayer.engine import notice
    from replayer.engine import replay as run_plan
    from replayer.metrics import serving
    from replayer.preflight.beforehand import beforehand, once_more
    from replayer.preflight.checklist import show as show_finding
    from replayer.preflight.checklist import sum_up
    from replayer.preparing.describing import describe
    from replayer.preparing.prepare import prepare
    from replayer.progress import Facts, shown

    prepared = await prepare(plan, chosen(plan.only, plan.except_))
    table = Facts(f"run {prepared.run_id}")
    for what, finding in describe(plan, prepared):
        table.add_row(what, finding)
    console.print(table)
    with serving(plan.metrics) as registry:
        if plan.dry_run:
            console.print_json(plan.model_dump_json())
            console.print("Dry run: everything is in order, and nothing was sent.")
            return None
        folder = Folder(plan.runs, prepared.run_id, plan)
        checked = plan.preflight and bool(plan.sidecars)
        if checked:
            checklist, over = await beforehand(plan, prepared, folder, lambda finding: show_finding(console, finding))
            if checklist is not None:
                sum_up(console, checklist)
            if over is not None:
                return over
        if (told := notice(plan, prepared, folder)) is not None:
            console.print(f"{told.title}\n{told.body}", markup=False, highlight=False, soft_wrap=True)
        with shown(console) as show:
            again = partial(once_more, plan, prepared, folder) if checked else None
            return await run_plan(plan, prepared, folder, registry, show, again)


def _print(console: "Console", found: "Report") -> None:
    from replayer.progress import differences, routes, summary

    console.print(summary(found))
    if found.routes:
        console.print(routes(found))
    if found.differences is not None:
        console.print(differences(found.differences))
    if found.exit_code == Exit.INVALID:
        told = "it did not keep its schedule, so its figures are not the target's under this load"
        console.print(f"The run is invalid: {told}.", style="red")


__all__ = ["replay", "report"]
