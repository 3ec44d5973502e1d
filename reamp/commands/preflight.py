"""`reamp preflight`: prove on the live system, before any load, that what keeps it safe works."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reamp.commands.replay import plan_of, replay
from reamp.commands.sharing import with_options_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from replayer.plan import Plan
    from replayer.preflight.findings import Checklist, Finding


@with_options_of(replay, but=("dry_run", "preflight"))
def preflight(
    given: Mapping[str, Any],
    /,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print preflight.json in place of a checklist.")] = False,
) -> None:
    r"""Try out on a live target what keeps it safe, with a handful of requests and before any load.

    It takes what `reamp replay` takes, from the same places, so write one word for the other:

        reamp preflight recordings --to http://shop:8080 --key load.key \
          --sidecar http://shop:8901 --amplify 1.25x

    Have it see that the load tag reaches the app, and a service behind it:

        reamp preflight recordings --to http://shop:8080 --key load.key \
          --sidecar http://shop:8901 --amplify 1.25x --echo /debug/headers \
          --downstream-metric http://stock:9000/metrics#load_requests_total

    The lever is pulled for less than a second and reset, whatever happens; if other replayers listen, it is left alone.
    Some 30 requests are sent to the target, GET only, each with a load tag. `reamp replay` onto a live target does the
    same first, and sends nothing if a check fails, unless it is told **--no-preflight**.

    Exit codes: 0 all is well; 94 a check failed; 104 a mistake in the settings; 105 stopped by a signal, with the lever
    reset; 1 anything else.
    """
    import uvloop

    from replayer.preflight.checklist import show, sum_up
    from replayer.progress import screen

    plan = plan_of(given)
    console = screen()
    checklist = uvloop.run(_preflight(plan, (lambda _: None) if as_json else lambda finding: show(console, finding)))
    if as_json:
        typer.echo(checklist.model_dump_json(indent=2))
    else:
        sum_up(console, checklist)
    raise typer.Exit(checklist.exit_code)


async def _preflight(plan: "Plan", tell: "Callable[[Finding], None]") -> "Checklist":
    from reamp.commands.choosing import chosen
    from replayer.preflight.running import preflight as run_checks
    from replayer.preparing.prepare import papers

    run_id, signer, selection = papers(plan, chosen(plan.only, plan.except_))
    return await run_checks(plan, run_id, signer, selection, tell)


__all__ = ["preflight"]
