"""What happens in the demo, in order. Starts every process and ends it; measures, and hands the evidence on."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from rich.console import Console

import loadtag
from captures.reader import Capture
from loadtag import headers, keys
from reamp.demo import shop
from reamp.demo.promises import REORDER, Evidence, Stall, read_account
from reamp.demo.users import Users
from rules.exits import Exit, UserError
from rules.units import Share
from rules.wire import State

CEILING = Share.parse("25%")
AMPLIFY = "1.25x"
RATE = 40.0
"""Mean real requests a second: enough to see, and two small cores can serve it."""
RECORD, STEADY, CUT, AFTER_LEVER = 10, 14, 12, 3
"""Seconds that each act lasts."""
AUDIENCE = "demo"
PULSE = 0.02
"""Seconds between two looks at whether this machine lets a process go on in time."""


@dataclass
class Story:
    """One telling of it, in a folder of its own."""

    folder: Path
    console: Console
    rate: float = RATE
    _ports: dict[str, int] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    async def tell(self) -> Evidence:
        """Play it and give what was observed. Raises UserError if a process does not start."""
        self._ports = {name: _free_port() for name in ("app", "listen", "control")}
        database, account = self.folder / "shop.db", self.folder / "account.log"
        self._say(f"building a shop: {shop.PRODUCTS} products, {shop.REVIEWS} reviews, {shop.ORDERS} orders")
        await asyncio.to_thread(shop.build_database, database)
        account.touch()
        private, _ = keys.generate(self.folder, "load")
        stranger, _ = keys.generate(self.folder, "stranger")
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(
                self._process("app", shop.command(database, self._ports["app"]), env=shop.environment(account))
            )
            await self._up("app", "app")
            sidecar = await stack.enter_async_context(self._process("sidecar", self._sidecar()))
            await self._up("sidecar", "listen")
            users = Users(self._url("listen"), self.rate, seed=2026)
            coming = asyncio.create_task(users.come())
            stack.callback(coming.cancel)
            stalls: list[Stall] = []
            pulse = asyncio.create_task(_note_stalls(stalls))
            stack.callback(pulse.cancel)
            self._say(f"recording {RECORD} s of real traffic, about {self.rate:.0f} requests a second")
            await self._watch(RECORD)

            self._say(f"replaying live at {AMPLIFY} under a ceiling of {CEILING}")
            replay_began_ns = time.time_ns()
            replay = await stack.enter_async_context(self._process("replay", self._replay(private)))
            untrusted = asyncio.create_task(
                self._send_untrusted(keys.load_private(private), keys.load_private(stranger))
            )
            stack.callback(untrusted.cancel)
            await self._watch(STEADY, replay)

            self._say("real traffic falls to a third: the extra traffic has to follow")
            users.rate, cut_ns = self.rate / 3, time.time_ns()
            await self._watch(CUT, replay)
            users.rate, restored_ns = self.rate, time.time_ns()

            await self._watch(3, replay)
            self._say("pulling the lever")
            await self._run("stop", "--sidecar", self._url("control"), "--reason", "end of the demo")
            lever = (await self._state()).lever
            await self._watch(AFTER_LEVER, replay)
            replay_exit = await asyncio.wait_for(replay.wait(), 15)

            coming.cancel()
            await users.leave()
            forged, expired = await untrusted
            credit = await self._only_untrusted(keys.load_private(private), keys.load_private(stranger))
            self._say("reading the recording back and holding every promise against it")
            state = await self._settled()
            sidecar.send_signal(signal.SIGINT)
            await asyncio.wait_for(sidecar.wait(), 15)
            verify = await self._run("captures", "verify", str(self.folder / "recordings"), check=False)
            records = await asyncio.to_thread(lambda: list(Capture(self.folder / "recordings").records()))
        return Evidence(
            account=read_account(account.read_text()),
            records=records,
            state=state,
            ceiling=CEILING,
            users_sent=users.sent,
            users_statuses=users.statuses,
            users_timeouts=users.timeouts,
            forged_sent=forged + 10,
            expired_sent=expired + 10,
            replay_began_ns=replay_began_ns,
            cut_ns=cut_ns,
            restored_ns=restored_ns,
            lever_ns=round((lever.at or 0) * 1e9),
            replay_exit=replay_exit,
            verify_exit=verify,
            credit_after_untrusted=credit,
            stalls=stalls,
        )

    # --- the cast

    def _sidecar(self) -> list[str]:
        return _reamp(
            "sidecar",
            *("--upstream", self._url("app"), "--listen", f"127.0.0.1:{self._ports['listen']}"),
            *("--control", f"127.0.0.1:{self._ports['control']}", "--captures", str(self.folder / "recordings")),
            *("--state", str(self.folder / "state"), "--max-extra", str(CEILING), "--audience", AUDIENCE),
            *("--public-key", str(self.folder / "load.pub")),
        )

    def _replay(self, private: Path) -> list[str]:
        return _reamp(
            *("replay", str(self.folder / "recordings"), "--to", self._url("listen")),
            *("--no-preflight", "--sidecar", self._url("control"), "--amplify", AMPLIFY, "--key", str(private)),
            *("--runs", str(self.folder / "runs"), "--duration", "5m"),
        )

    async def _send_untrusted(self, own: loadtag.Signer, stranger: loadtag.Signer, pairs: int = 10) -> tuple[int, int]:
        """Send forged and expired tags while everything else goes on."""
        async with httpx.AsyncClient(base_url=self._url("listen"), timeout=20, trust_env=False) as client:
            for number in range(pairs):
                await asyncio.sleep(0.4)
                await self._untrusted_pair(client, own, stranger, f"{number}")
        return pairs, pairs

    async def _only_untrusted(self, own: loadtag.Signer, stranger: loadtag.Signer) -> float:
        """Send forged and expired tags and nothing else; tell the credit that came of it."""
        await asyncio.sleep(1.2)  # all credit that real users earned expires
        async with httpx.AsyncClient(base_url=self._url("listen"), timeout=20, trust_env=False) as client:
            for number in range(10):
                await self._untrusted_pair(client, own, stranger, f"alone-{number}")
        return (await self._state()).credit

    async def _untrusted_pair(
        self, client: httpx.AsyncClient, own: loadtag.Signer, stranger: loadtag.Signer, name: str
    ) -> None:
        # A stranger's signature under our key's id, and a tag of our own whose time is over.
        forged = stranger.sign("run", _in(600), AUDIENCE).replace(stranger.key_id, own.key_id, 1)
        for kind, token in (("forged", forged), ("expired", own.sign("run", _in(-60), AUDIENCE))):
            fields = headers.put([(b"x-request-id", f"{kind}-{name}".encode())], token, "run")
            await client.get("/shop.json", headers=[(key.decode(), value.decode()) for key, value in fields])

    # --- the stage

    @contextlib.asynccontextmanager
    async def _process(
        self, name: str, command: Sequence[str], env: dict[str, str] | None = None
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        with (self.folder / f"{name}.out").open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdout=output,
                stderr=output,
                stdin=asyncio.subprocess.DEVNULL,
                env=env or dict(os.environ),
                # Ctrl-C is for the demo, which then ends its cast in order.
                start_new_session=True,
            )
            try:
                yield process
            finally:
                if process.returncode is None:
                    process.terminate()
                    try:
                        await asyncio.wait_for(process.wait(), 15)
                    except TimeoutError:
                        # With all that it has started: a sidecar's workers would serve on without it.
                        os.killpg(process.pid, signal.SIGKILL)
                        await process.wait()

    async def _up(self, name: str, port: str) -> None:
        for _ in range(300):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._ports[port])
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return
        output = (self.folder / f"{name}.out").read_text(errors="replace")[-2000:]
        raise UserError(f"the demo's {name} did not start; it said:\n{output}", Exit.FAILED)

    async def _run(self, *arguments: str, check: bool = True) -> int:
        async with self._process("command", _reamp(*arguments)) as process:
            code = await asyncio.wait_for(process.wait(), 30)
        if check and code:
            output = (self.folder / "command.out").read_text(errors="replace")[-2000:]
            raise UserError(f"reamp {' '.join(arguments)} exited with {code}:\n{output}", Exit.FAILED)
        return code

    async def _watch(self, seconds: float, replay: asyncio.subprocess.Process | None = None) -> None:
        """Let time pass and show what goes through, twice a second on a terminal, every few seconds elsewhere."""
        every = 0.5 if self.console.is_terminal else 4.0
        end = time.monotonic() + seconds
        before, at = await self._state(), time.monotonic()
        with self.console.status("") if self.console.is_terminal else contextlib.nullcontext() as status:
            while (left := end - time.monotonic()) > 0:
                await asyncio.sleep(min(every, left))
                state, now = await self._state(), time.monotonic()
                extra = (_passed(state) - _passed(before)) / max(now - at, 1e-3)
                real = (_real(state) - _real(before)) / max(now - at, 1e-3)
                p95 = "-" if state.signal.p95 is None else f"{state.signal.p95 * 1000:.0f} ms"
                ceiling = real * CEILING / 1e6
                line = f"real {real:5.1f}/s   extra {extra:5.1f}/s   ceiling {ceiling:5.1f}/s   real p95 {p95}"
                if status:
                    status.update(line)
                else:
                    self.console.print(f"         {line}")
                before, at = state, now
                if replay and replay.returncode not in (None, int(Exit.LEVER)):
                    output = (self.folder / "replay.out").read_text(errors="replace")[-2000:]
                    raise UserError(f"the replay ended with {replay.returncode}:\n{output}", Exit.FAILED)

    async def _state(self) -> State:
        async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
            return State.model_validate_json((await client.get(f"{self._url('control')}/v1/state")).content)

    async def _settled(self) -> State:
        """Wait until all that was recorded is on the disk."""
        for _ in range(100):
            state = await self._state()
            if state.accounting.pending == 0:
                break
            await asyncio.sleep(0.1)
        return state

    def _url(self, port: str) -> str:
        return f"http://127.0.0.1:{self._ports[port]}"

    def _say(self, text: str) -> None:
        self.console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/dim]  {text}")


async def _note_stalls(stalls: list[Stall]) -> None:
    """Note when this process could not go on in time, for longer than verdicts allow for."""
    while True:
        due = time.monotonic_ns() + int(PULSE * 1e9)
        await asyncio.sleep(PULSE)
        late = time.monotonic_ns() - due
        if late > REORDER:
            stalls.append(Stall(time.time_ns(), late))


def _passed(state: State) -> int:
    outcomes = state.requests["synthetic"]
    return sum(outcomes.values()) - outcomes["withheld"]


def _real(state: State) -> int:
    return sum(state.requests["real"].values())


def _in(seconds: float) -> int:
    return int(time.time() + seconds)


def _reamp(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "reamp", *arguments]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
