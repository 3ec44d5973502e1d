"""`reamp stop`, `resume` and `status`: talk to the control ports of sidecars."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rules.exits import Exit, UserError
from rules.wire import CONTROL_TOKEN, Dark, EgressState, Lever, LeverOrder, State, Worker, bearing

if TYPE_CHECKING:
    import ssl

    import httpx

DEFAULT_SIDECAR = "http://127.0.0.1:8901"
TIMEOUT = 5.0
"""Seconds to wait for a sidecar: it answers in milliseconds or is in trouble."""

Sidecars = Annotated[
    list[str] | None,
    typer.Option(
        "--sidecar", metavar="URL", help="Control port of a sidecar; may be repeated.", show_default=DEFAULT_SIDECAR
    ),
]


ControlCA = Annotated[
    Path | None,
    typer.Option(
        "--control-ca",
        metavar="FILE",
        envvar="REAMP_CONTROL_CA",
        help="Certificate authorities to trust (PEM), for https://.",
        show_default="the system's",
    ),
]


OnlyDark = Annotated[
    bool,
    typer.Option("--dark", help="The lever of dark copies only: what `reamp sidecar --dark` sends. (docs/dark.md)"),
]


def stop(
    sidecar: Sidecars = None,
    dark: OnlyDark = False,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why; shown to whoever runs into it.")
    ] = "stopped by hand",
    control_ca: ControlCA = None,
) -> None:
    """Pull the lever: no synthetic request passes until `reamp resume`. Real traffic goes on.

    It latches: it holds for every replay, now and later, and survives a restart of the sidecar. Dark copies of real
    requests are stopped by it, too; with --dark only they are, by a lever of their own.

    On the sidecar's own machine this needs nothing. From elsewhere REAMP_CONTROL_TOKEN has to hold the sidecar's
    control token, and to reset the lever its admin token.
    """
    _move(sidecar, control_ca, engaged=True, reason=reason, dark=dark)


def resume(
    sidecar: Sidecars = None,
    dark: OnlyDark = False,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it is safe again.")] = "resumed by hand",
    control_ca: ControlCA = None,
) -> None:
    """Reset the lever: synthetic traffic may pass again, as far as real traffic earns credit for it.

    That of the dark copies is reset with --dark, and only so.
    """
    _move(sidecar, control_ca, engaged=False, reason=reason, dark=dark)


def status(
    sidecar: Sidecars = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the state as JSON, a line for each sidecar.")] = False,
    control_ca: ControlCA = None,
) -> None:
    """Show what sidecars are doing: real and synthetic traffic, ceiling, lever, recording."""
    console = Console(emoji=False)
    urls = _urls(sidecar)
    trust = _trust(urls, control_ca)
    for url in urls:
        state = _parse(State, url, _call("GET", f"{url}/v1/state", trust))
        if as_json:
            typer.echo(state.model_dump_json())
        else:
            console.print(_table(url, state))


def _move(sidecars: list[str] | None, control_ca: Path | None, *, engaged: bool, reason: str, dark: bool) -> None:
    from replayer.person import person

    try:
        order = LeverOrder(engaged=engaged, reason=reason, by=person())
    except ValidationError:
        raise UserError("--reason: write between 1 and 500 characters") from None

    def move(url: str) -> Lever | UserError:
        try:
            path = "/v1/dark/lever" if dark else "/v1/lever"
            return _parse(Lever, url, _call("POST", f"{url}{path}", trust, order.model_dump_json()))
        except UserError as error:
            return error

    urls, failed = _urls(sidecars), False
    trust = _trust(urls, control_ca)
    # All at once: one sidecar that is gone must not keep the others waiting to be stopped.
    with ThreadPoolExecutor(len(urls)) as pool:
        results = list(pool.map(move, urls))
    for url, lever in zip(urls, results, strict=True):
        if isinstance(lever, UserError):
            Console(stderr=True, soft_wrap=True, emoji=False).print(str(lever), style="red", markup=False)
            failed = True
            continue
        which = "lever of the dark copies" if dark else "lever"
        typer.echo(f"{url}: {which} {'pulled' if lever.engaged else 'reset'} by {lever.by}: {lever.reason}")
        if not lever.persisted:
            warning = f"{url}: it could not be written down, so a restart of the sidecar will not know it"
            Console(stderr=True, soft_wrap=True, emoji=False).print(warning, style="yellow", markup=False)
    if failed and engaged and not dark:
        # Whoever is in a hurry should not have to look for another way.
        other = "Its own machine needs no port: touch .reamp/stop there (its --lever-file), or kill -USR1 the sidecar."
        Console(stderr=True, soft_wrap=True, emoji=False).print(other, markup=False)
    if failed:
        raise typer.Exit(Exit.FAILED)


def _urls(sidecars: list[str] | None) -> list[str]:
    """Complete the addresses: people write HOST:PORT as often as a URL."""
    return [(url if "://" in url else f"http://{url}").rstrip("/") for url in sidecars or [DEFAULT_SIDECAR]]


def _trust(urls: list[str], ca: Path | None) -> "ssl.SSLContext | bool":
    if not any(url.startswith("https:") for url in urls):
        return False
    from replayer.transport.tls import trusting

    return trusting(ca, "--control-ca")


def _call(method: str, url: str, trust: "ssl.SSLContext | bool", body: str | None = None) -> "httpx.Response":
    import httpx

    headers = {"content-type": "application/json"} if body is not None else {}
    try:
        headers |= bearing(os.environ.get(CONTROL_TOKEN))
    except ValueError as error:
        raise UserError(f"{CONTROL_TOKEN}: {error}") from None
    try:
        response = httpx.request(
            method, url, content=body, headers=headers, timeout=TIMEOUT, trust_env=False, verify=trust
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise UserError(f"{url}: {error}: --control-ca FILE says whom to trust there", Exit.FAILED) from None
        tls = "" if url.startswith("https:") else " (Does it speak TLS? Then it is https://...)"
        raise UserError(
            f"{url}: no sidecar answers there ({error}): is --sidecar its control port?{tls}", Exit.FAILED
        ) from None
    if response.is_error:
        try:
            detail = response.json()["detail"]
        except (ValueError, KeyError, TypeError):
            detail = response.text[:200]
        raise UserError(f"{url}: {response.status_code}: {detail}", Exit.FAILED)
    return response


def _parse[M: (State, Lever)](model: type[M], url: str, response: "httpx.Response") -> M:
    try:
        return model.model_validate_json(response.content)
    except ValidationError:
        raise UserError(f"{url}: this is not the control port of a sidecar", Exit.FAILED) from None


def _how(worker: Worker) -> str:
    words = {
        "starting": "starts",
        "serving": "serves",
        "stalled": "[red]hangs[/red]",
        "retiring": "retires",
        "dead": "[red]died[/red], its replacement is due",
    }[worker.state]
    return f"{words}; {worker.restarts} died in its place" if worker.restarts else words


def _lever(lever: Lever) -> str:
    when = "" if lever.at is None else f" at {datetime.fromtimestamp(lever.at).astimezone():%Y-%m-%d %H:%M:%S %Z}"
    last = escape(f"by {lever.by}{when}: {lever.reason}") if lever.by else ""
    unsure = "" if lever.persisted else "; [yellow]not written down: a restart will not know it[/yellow]"
    if lever.engaged:
        return f"[red]pulled[/red] {last}{unsure}"
    return f"free; reset {last}{unsure}" if last else "free"


def _dark(table: Table, dark: Dark, *, stopped: bool) -> None:
    outcomes = dark.outcomes
    table.add_row("dark copies", escape(f"of {dark.share} of real requests, to {dark.url}"))
    if not dark.serving:
        table.add_row("  [red]process[/red]", "[red]is gone[/red]: nothing is sent")
    held = "; the main lever holds them up, too" if stopped else ""
    table.add_row("  lever", _lever(dark.lever) + held)
    table.add_row("  sent", f"{dark.sent} of {dark.seen} real requests; {dark.in_flight + dark.waiting} on their way")
    told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in outcomes.items() if count)
    table.add_row("  outcomes", told or "none yet")
    for side, times in dark.times.items():
        table.add_row(f"  {side} p50 / p95 / p99", f"{_ms(times.p50)} / {_ms(times.p95)} / {_ms(times.p99)}")
    for aspect, results in dark.compared.items():
        if any(results.values()):
            table.add_row(f"  {aspect}", f"{results['same']} the same, {results['different']} different")
    table.add_row("  reconciles", "yes" if dark.reconciles() else "[red]no[/red]")


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"


def _add_egress(table: Table, egress: EgressState) -> None:
    table.add_row("egress", f"{egress.listen}, {'carries calls' if egress.serves else '[red]carries no calls[/red]'}")
    for kind, counts in egress.calls.items():
        if kind == "dark" and not any(counts.values()):
            continue  # few have dark copies
        by = ", ".join(f"{count} by {what}" for what, count in counts.items() if count)
        table.add_row(f"  {kind} calls", f"{sum(counts.values())}{f' ({by})' if by else ''}")
    if any(egress.answered.values()):
        kept = ", ".join(f"{count} {what}" for what, count in egress.answered.items() if count)
        table.add_row("  kept from third parties", kept)
    known = "-" if egress.hit_ratio is None else f"{egress.hit_ratio:.1%}"
    table.add_row("  calls with a known trace", known)
    table.add_row("  synthetic traces held", f"about {egress.held} of {egress.room}")
    if egress.restarts:
        table.add_row("  restarts", str(egress.restarts))


def _table(url: str, state: State) -> Table:
    # In place of the app's address stands what a tap is; and `reverse:` is mitmproxy's word for what all others are.
    before = f"before {state.upstream.removeprefix('reverse:')}" if state.tap is None else "a tap"
    table = Table(title=escape(f"{url}  {before}"), show_header=False, title_justify="left", title_style="bold")
    signal, accounting = state.signal, state.accounting

    synthetic = state.requests.get("synthetic", {})
    if state.tap is None:
        table.add_row("real traffic", f"{signal.rate:.1f}/s over the last {signal.window:g} s")
        table.add_row("  p50 / p95 / p99", f"{_ms(signal.p50)} / {_ms(signal.p95)} / {_ms(signal.p99)}")
        table.add_row("  errors", "-" if signal.error_ratio is None else f"{signal.error_ratio:.2%}")
        withheld = synthetic.get("withheld", 0)
        table.add_row("synthetic requests", f"{sum(synthetic.values()) - withheld} passed, {withheld} withheld")
    else:
        table.add_row("gets", f"copies of {state.tap} of real requests, and can refuse none")
        table.add_row("real traffic", f"about {signal.rate:.1f}/s over the last {signal.window:g} s")
        table.add_row("  times and errors", "not known: a tap sees no answers")
        excess = synthetic.get("excess", 0)
        beyond = f"[red]{excess}[/red]" if excess else "0"
        table.add_row("synthetic requests", f"{sum(synthetic.values())} seen, {beyond} of them without credit")
    table.add_row("untrusted requests", str(sum(state.requests.get("untrusted", {}).values())))
    table.add_row("ceiling", f"{state.max_extra} of real traffic; credit for {state.credit:.1f} now")
    table.add_row("replayers listening", str(state.subscribers))
    table.add_row("lever", _lever(state.lever))
    if state.doubt:
        table.add_row("[red]load tags[/red]", f"[red]none counts[/red]: {escape(state.doubt)}")
    if state.dark is not None:
        _dark(table, state.dark, stopped=state.lever.engaged)
    for rule in state.slo:
        colour = {"breached": "red", "pending": "yellow"}.get(rule.state, "")
        words = escape(rule.words)
        table.add_row("rule", f"[{colour}]{words}[/{colour}]" if colour else words)
    table.add_row("recording", "yes" if state.capturing else "[red]no[/red]")
    for name, count in accounting.model_dump().items():
        table.add_row(f"  {name.replace('_', ' ')}", str(count))
    table.add_row("  reconciles", "yes" if accounting.reconciles() else "[red]no[/red]")
    if state.egress is not None:
        _add_egress(table, state.egress)
    if len(state.workers) > 1 or any(worker.state != "serving" or worker.restarts for worker in state.workers):
        for worker in state.workers:
            table.add_row(f"worker {worker.pid}", _how(worker))
    return table
