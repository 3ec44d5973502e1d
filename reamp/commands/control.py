"""`reamp stop`, `resume` and `status`: talk to the control ports of sidecars."""

import getpass
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rules.exits import Exit, UserError
from rules.wire import Lever, LeverOrder, State, Worker

if TYPE_CHECKING:
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


def stop(
    sidecar: Sidecars = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why; shown to whoever runs into it.")
    ] = "stopped by hand",
) -> None:
    """Pull the lever: no synthetic request passes until `reamp resume`. Real traffic goes on.

    It latches: it holds for every replay, now and later, and survives a restart of the sidecar.
    """
    _move(sidecar, engaged=True, reason=reason)


def resume(
    sidecar: Sidecars = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it is safe again.")] = "resumed by hand",
) -> None:
    """Reset the lever: synthetic traffic may pass again, as far as real traffic earns credit for it."""
    _move(sidecar, engaged=False, reason=reason)


def status(
    sidecar: Sidecars = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the state as JSON, a line for each sidecar.")] = False,
) -> None:
    """Show what sidecars are doing: real and synthetic traffic, ceiling, lever, recording."""
    console = Console(emoji=False)
    for url in _urls(sidecar):
        state = _parse(State, url, _call("GET", f"{url}/v1/state"))
        if as_json:
            typer.echo(state.model_dump_json())
        else:
            console.print(_table(url, state))


def _move(sidecars: list[str] | None, *, engaged: bool, reason: str) -> None:
    try:
        order = LeverOrder(engaged=engaged, reason=reason, by=_user())
    except ValidationError:
        raise UserError("--reason: write between 1 and 500 characters") from None

    def move(url: str) -> Lever | UserError:
        try:
            return _parse(Lever, url, _call("POST", f"{url}/v1/lever", order.model_dump_json()))
        except UserError as error:
            return error

    urls, failed = _urls(sidecars), False
    # All at once: one sidecar that is gone must not keep the others waiting to be stopped.
    with ThreadPoolExecutor(len(urls)) as pool:
        results = list(pool.map(move, urls))
    for url, lever in zip(urls, results, strict=True):
        if isinstance(lever, UserError):
            Console(stderr=True, soft_wrap=True, emoji=False).print(str(lever), style="red", markup=False)
            failed = True
            continue
        typer.echo(f"{url}: lever {'pulled' if lever.engaged else 'reset'} by {lever.by}: {lever.reason}")
        if not lever.persisted:
            warning = f"{url}: it could not be written down, so a restart of the sidecar will not know it"
            Console(stderr=True, soft_wrap=True, emoji=False).print(warning, style="yellow", markup=False)
    if failed:
        raise typer.Exit(Exit.FAILED)


def _urls(sidecars: list[str] | None) -> list[str]:
    """Complete the addresses: people write HOST:PORT as often as a URL."""
    return [(url if "://" in url else f"http://{url}").rstrip("/") for url in sidecars or [DEFAULT_SIDECAR]]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container often runs under a number that has no name
        return f"uid {os.getuid()}"


def _call(method: str, url: str, body: str | None = None) -> "httpx.Response":
    import httpx

    headers = {"content-type": "application/json"} if body is not None else {}
    if token := os.environ.get("REAMP_CONTROL_TOKEN"):
        if not token.isascii() or not token.isprintable():
            raise UserError("REAMP_CONTROL_TOKEN holds characters that no HTTP header can carry")
        headers["authorization"] = f"Bearer {token}"
    try:
        response = httpx.request(method, url, content=body, headers=headers, timeout=TIMEOUT, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UserError(
            f"{url}: no sidecar answers there ({error}): is --sidecar its control port?", Exit.FAILED
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


def _table(url: str, state: State) -> Table:
    table = Table(title=escape(f"{url}  {state.upstream}"), show_header=False, title_justify="left", title_style="bold")
    signal, accounting = state.signal, state.accounting

    def ms(seconds: float | None) -> str:
        return "-" if seconds is None else f"{seconds * 1000:.1f} ms"

    table.add_row("real traffic", f"{signal.rate:.1f}/s over the last {signal.window:g} s")
    table.add_row("  p50 / p95 / p99", f"{ms(signal.p50)} / {ms(signal.p95)} / {ms(signal.p99)}")
    table.add_row("  errors", "-" if signal.error_ratio is None else f"{signal.error_ratio:.2%}")
    synthetic = state.requests.get("synthetic", {})
    withheld = synthetic.get("withheld", 0)
    table.add_row("synthetic requests", f"{sum(synthetic.values()) - withheld} passed, {withheld} withheld")
    table.add_row("untrusted requests", str(sum(state.requests.get("untrusted", {}).values())))
    table.add_row("ceiling", f"{state.max_extra} of real traffic; credit for {state.credit:.1f} now")
    table.add_row("replayers listening", str(state.subscribers))
    lever = state.lever
    table.add_row("lever", f"[red]pulled[/red] by {escape(f'{lever.by}: {lever.reason}')}" if lever.engaged else "free")
    table.add_row("recording", "yes" if state.capturing else "[red]no[/red]")
    for name, count in accounting.model_dump().items():
        table.add_row(f"  {name.replace('_', ' ')}", str(count))
    table.add_row("  reconciles", "yes" if accounting.reconciles() else "[red]no[/red]")
    if len(state.workers) > 1 or any(worker.state != "serving" or worker.restarts for worker in state.workers):
        for worker in state.workers:
            table.add_row(f"worker {worker.pid}", _how(worker))
    return table
