"""The process of the egress: ``python -m addons.egress.serving``, started by the supervisor and by nobody else.

It goes on when the supervisor is gone, as the workers do: the app's calls go through it. It ends when somebody else is
in charge of its port.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    from addons.internals.slimming import slim

    slim()  # before anything imports mitmproxy

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import certifi
from pydantic import BaseModel, ConfigDict

from addons.egress.calls import Calls, Passage
from addons.egress.carrier import Carrier
from addons.egress.destinations import Destinations
from addons.egress.naming import COUNTED, DOORS, MEMORY
from addons.egress.thirdparties import ThirdParties
from addons.egress.tunnels import Tunnels
from addons.internals.loop import new_event_loop
from addons.parties.policy import Policy
from addons.processes.doors import Doors
from addons.processes.ear import Ear
from addons.processes.holding import taken_over
from addons.processes.orders import Errand, Report
from addons.processes.tallies import Tallies
from addons.traces import WRITERS, Traces
from rules.exits import Exit, UserError, leave

logger = logging.getLogger(__name__)

LOOKUPS = 64
"""Names that are looked up at the same time. libuv would do two: as many as nobody answers for hold up all calls."""


class Settings(BaseModel):
    """What this process is told of the user's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mapped: list[str] = []
    """``NAME=URL``, see `destinations`."""
    intercepted: list[str] = []
    """Hosts whose tunnels are looked into."""
    guarded: list[int] = []
    """Ports of this machine that no call may go to."""
    options: dict[str, Any] = {}
    """mitmproxy's options, ours included."""
    folder: str
    """Where the authority is kept that makes certificates for tunnels that are looked into."""
    trust: str = ""
    """File of authorities that are trusted beside the public ones."""
    policy: str = "{}"
    """Rules for third parties, see `parties.policy`."""
    holding: str = ""
    """File that says who is in charge of the port, see `holding`."""
    in_charge: str = ""
    replaces: bool = False
    """Whether it takes the place of one that died: a file that is not there any more is then no reason not to serve."""


def main() -> None:
    """Run the egress and exit with the code that fits."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s egress: %(message)s")
    for name in ("mitmproxy", "hpack", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # libuv makes these threads at the first lookup, and lets lookups have half of them.
    os.environ.setdefault("UV_THREADPOOL_SIZE", str(2 * LOOKUPS))
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.get_loop().set_default_executor(ThreadPoolExecutor(LOOKUPS))  # where asyncio's own loop looks names up
        code = runner.run(work())
    leave(code)


async def work() -> int:
    """Serve until told to end, and give the exit code."""
    ear = await Ear.begin()
    if not (line := await ear.first()):
        return Exit.FAILED
    errand = Errand.model_validate_json(line)
    settings = Settings.model_validate(errand.settings)
    doors = Doors([[at for name, at in errand.shares.items() if name.startswith(DOORS)]], 0)
    running: list[asyncio.Task[None]] = []

    def started() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, carrier.end)
        running.append(asyncio.create_task(_obey(ear, carrier, settings)))
        running.append(asyncio.create_task(ear.beat()))
        _tell_where(Path(settings.folder), errand.shares["traces"])
        ear.report(Report(ready=True, unread=next(one.unread for one in met if isinstance(one, Calls))))

    try:
        options = {**settings.options, **authorities(settings)}
        destinations, met, passage = chain(settings, errand)
        carrier = Carrier(destinations, met, passage, doors, options, started)
        await carrier.run()
    except UserError as error:
        ear.report(Report(error=f"egress: {error}"))
        return error.code
    finally:
        for task in running:
            task.cancel()
    return Exit.DONE


def _tell_where(folder: Path, memory: int) -> None:
    """Say where the memory can be had, for a sidecar that takes over from one that is gone."""
    new = folder / f"{MEMORY}.{os.getpid()}.new"
    try:
        new.write_text(f"{os.getpid()} {memory}\n")
        new.replace(folder / MEMORY)
    except OSError as error:
        logger.warning("A sidecar that takes over will not know the traces of before: %s", error)


def chain(settings: Settings, errand: Errand) -> tuple[Destinations, list[Any], Passage]:
    """Put together what a call meets, in order, and give the last one by itself as well."""
    traces = Traces(errand.shares["traces"], WRITERS // 2 + errand.row)
    tallies = Tallies(COUNTED, errand.shares["egress-tallies"], errand.row)
    destinations = Destinations(settings.mapped, settings.intercepted)
    passage = Passage(destinations, tallies)
    calls = Calls(traces, tallies)
    parties = _parties(settings, destinations, calls)
    return destinations, [calls, parties, Tunnels(destinations, settings.guarded, tallies), passage], passage


def _parties(settings: Settings, destinations: Destinations, calls: Calls) -> ThirdParties:
    """Give the rules for third parties. Without them, no synthetic call leaves; real ones do not depend on them."""
    try:
        return ThirdParties(Policy.model_validate_json(settings.policy), destinations, calls)
    except ValueError as error:  # a file that was there when the settings were read has gone
        if not settings.replaces:
            raise UserError(f"third_parties: {error}") from None
        # A warning: errors are reasons not to start.
        logger.warning("The rules for third parties can't be read: no synthetic call leaves", exc_info=True)
        return ThirdParties(Policy(), destinations, calls)


def authorities(settings: Settings) -> dict[str, str]:
    """Give mitmproxy's options that say who vouches for whom. Raises UserError if the folder can't be used."""
    folder = Path(settings.folder)
    both = folder / "trusted.pem"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if settings.trust:
            # mitmproxy trusts either the public ones or those of a file.
            new = folder / f"trusted.{os.getpid()}.new"
            new.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + Path(settings.trust).read_bytes())
            new.replace(both)
    except OSError as error:
        # A full disk is no mistake in the settings, and the app's calls have nothing to do with it.
        disk = both.exists() and error.filename != settings.trust
        if not (settings.replaces or disk):
            raise UserError(f"the certificates of the egress can't be kept in {folder}: {error}") from None
        logger.warning("The certificates in %s stay as they are: %s", folder, error)
    trusted = {"ssl_verify_upstream_trusted_ca": str(both)} if settings.trust and both.exists() else {}
    return {"confdir": str(folder), **trusted}


async def _obey(ear: Ear, carrier: Carrier, settings: Settings) -> None:
    """Do what the supervisor says, as long as there is one."""
    async for order in ear.orders():
        if order.do == "retire":
            carrier.retire()
    logger.warning("The supervisor is gone: the app's calls go on")
    await taken_over(Path(settings.holding), settings.in_charge)
    logger.warning("Another sidecar has taken over: this egress retires")
    carrier.retire()


if __name__ == "__main__":
    main()
