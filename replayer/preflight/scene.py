"""Where a preflight takes place: canaries to the target, questions to the control ports. Edge.

Canaries leave by the transport of a run (TLS, HTTP/2, addresses), each with a load tag, good or bad, and are counted.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from email.utils import parsedate_to_datetime

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from captures.records import Record
from loadtag import Signer
from replayer.encoder import encoder_for
from replayer.permission.credits import RefusedError, grants
from replayer.plan import Plan
from replayer.preflight.survey import Survey, host_name
from replayer.preflight.verdicts import Clock, Seen, Watched
from replayer.preparing.sidecars import control_client
from replayer.prober import Asker
from replayer.requests.encoding import Request
from replayer.requests.tagging import Tag
from replayer.selection import Selection
from replayer.transport import Answer, target
from replayer.transport.tls import to_target
from rules.units import Share
from rules.wire import Grant, State

TIMEOUT = 2.0
"""Seconds to wait for one answer, of the target or of a control port."""

LOOK = 1.0
"""Seconds to look at the recording for."""

SETTLING = 0.8
"""Seconds in which what was answered has to be counted, and credit may be waited for."""

PULSE = 0.02
"""Seconds between two looks at whether it was."""

_BARE = ((b"accept", b"*/*"), (b"user-agent", b"reamp-preflight"))


class Scene:
    """What the checks of one preflight share. Used once, inside `scene`."""

    def __init__(
        self, plan: Plan, run_id: str, signer: Signer, selection: Selection, client: httpx.AsyncClient
    ) -> None:
        self.plan = plan
        self.run_id = run_id
        self.signer = signer
        self.selection = selection
        self.client = client
        self.encoder = encoder_for(plan, run_id)
        self.survey = Survey(plan.methods, plan.writes, self.encoder.path)
        self.states: dict[str, State] = {}
        """What the sidecars said last."""
        self.clocks: dict[str, Clock] = {}
        self.stack = AsyncExitStack()
        """What is to be closed at the end, however it comes."""
        self.stranger = Signer(Ed25519PrivateKey.generate())
        self.answer_to_untrusted: Answer | None = None
        """What came back on a request whose tag is not valid: what the app answers without one."""
        self.listening: dict[str, Listener] = {}
        """The sidecars' grants, from the moment on in which the lever is about to be pulled."""
        self.reals: dict[str, int] = {}
        """Real requests that they had seen by the moment in which all credit was taken away."""
        self.drained = False
        """Whether all credit was taken away just now."""
        self._token = b""
        self._asker = Asker(
            target(plan, to_target(plan)), time.monotonic_ns, lambda: self._token, lambda _: None, lambda: True
        )
        self._plain = encoder_for(plan.model_copy(update={"rewrite": (), "plugin": None}), run_id)
        self._canary: Request | None = None
        self.canary_path = ""

    # --- the recording ---

    def look_at_recording(self) -> None:
        """Look at its records, for a while, and find a canary among them. Raises CaptureError."""
        until = time.monotonic() + LOOK
        for number, record in enumerate(self.selection.records()):
            self.survey.look(record)
            if number % 256 == 255 and time.monotonic() > until:
                break
        if self.plan.canary is None:
            for record in self.survey.canaries[:16]:
                request = self.encoder.encode(record)
                if isinstance(request, Request):
                    self._canary, self.canary_path = request, self.encoder.path(record.path)
                    break
        if self._canary is None:
            self.canary_path = self.plan.canary or "/"
            self._canary = self.request(self.canary_path)

    @property
    def looked_at(self) -> str:
        """Say what the survey is of."""
        seen, count = self.survey.records, self.selection.count
        return f"{seen} records" if self.selection.whole and seen >= count else f"the first {seen} records"

    @property
    def seconds(self) -> float:
        """How long the run will take at most, as far as is known."""
        held = max(0, (self.selection.last_ns or 0) - (self.selection.first_ns or 0)) / 1e9
        return min(held if self.plan.duration is None else self.plan.duration, self.plan.max_time or float("inf"))

    @property
    def host(self) -> str | None:
        """The host that requests name; None: the one that they were recorded for."""
        named = {"target": self.plan.to.split("//")[1], "recorded": None}.get(self.plan.host, self.plan.host)
        return None if named is None else host_name(named)

    # --- the target ---

    @property
    def requests(self) -> int:
        """How many were sent to the target."""
        return self._asker.count

    def request(self, path: str) -> Request:
        """Make a request for a path, with what the plan wants of every request."""
        record = Record(0, "GET", "http", "", path, "HTTP/1.1", _BARE, b"", 0, 200, 0, 0, 0)
        request = self._plain.encode(record)
        if not isinstance(request, Request):
            raise ValueError(f"{path} can't be asked for: {request}")  # noqa: TRY004 - it is about the path
        return request

    @property
    def apps(self) -> list[str]:
        """The URLs of the apps that the sidecars stand before."""
        return [state.upstream.removeprefix("reverse:") for state in self.states.values()]

    @property
    def tap(self) -> str:
        """Give a sidecar that gets copies instead of the traffic, and can refuse nothing; empty if there is none."""
        return next((url for url, state in self.states.items() if state.tap is not None), "")

    @property
    def canary(self) -> Request:
        """Give what is asked for, if nothing else has to be."""
        return self._canary or self.request("/")

    @property
    def audience(self) -> str:
        """Whom load tags are addressed to."""
        return self.plan.audience or next((state.audience for state in self.states.values()), "target")

    def token(self) -> str:
        """Sign a good tag."""
        return Tag(self.signer, self.run_id, self.audience, self.plan.tag_lifetime).token(time.time()).decode()

    def forged(self) -> str:
        """Make a tag that names our key, and that a stranger signed."""
        token = self.stranger.sign(self.run_id, int(time.time() + self.plan.tag_lifetime), self.audience)
        return token.replace(self.stranger.key_id, self.signer.key_id, 1)

    def expired(self) -> str:
        """Sign a tag whose time is over, by far more than clocks may differ."""
        return self.signer.sign(self.run_id, int(time.time() - 2 * self.plan.tag_lifetime - 3600), self.audience)

    async def ask(self, request: Request, token: str | None = None) -> Answer | str:
        """Send a request with a token, a good one unless told otherwise; give the answer, or why there is none."""
        self._token = (token or self.token()).encode()
        try:
            async with asyncio.timeout(TIMEOUT):
                found = await self._asker.ask(request.another())
        except TimeoutError:
            return f"no answer within {TIMEOUT:g} s"
        if isinstance(found, Answer):
            return found
        why = next((why for kind, why in self._asker.reasons.items() if kind == found), "")
        return f"{found}: {why}" if why else found

    async def ask_until_it_passes(self, request: Request, token: str | None = None) -> Answer | str:
        """Send it once there seems to be credit, and once more if there was none after all."""
        for _ in range(2):
            await self.credit()
            answer = await self.ask(request, token)
            if not isinstance(answer, Answer) or answer.withheld != "credit":
                break
        return answer

    async def credit(self) -> None:
        """Wait until there is credit for a request, but not for long."""
        until = time.monotonic() + SETTLING
        while time.monotonic() < until:
            states = await self.look()
            if all(state.credit >= 1 or state.lever.engaged for state in states.values()):
                return
            await asyncio.sleep(PULSE)

    def close(self) -> None:
        """Close every connection to the target."""
        self._asker.close()

    # --- the sidecars ---

    async def state(self, url: str) -> State:
        """Ask a sidecar how it is, and what time. Raises httpx.HTTPError, ValidationError."""
        began, mono = time.time(), time.monotonic()
        response = await self.client.get(f"{url}/v1/state", timeout=TIMEOUT)
        took = time.monotonic() - mono
        response.raise_for_status()
        state = State.model_validate_json(response.content)
        now, unsure = state.now, took / 2
        if now is None and (date := response.headers.get("date")):
            now, unsure = parsedate_to_datetime(date).timestamp() + 0.5, unsure + 0.5  # it tells whole seconds
        if now is not None:
            self.clocks[url] = Clock(now - (began + took / 2), unsure)
        self.states[url] = state
        return state

    async def look(self) -> dict[str, State]:
        """Ask all of them."""
        return dict(zip(self.plan.sidecars, await asyncio.gather(*map(self.state, self.plan.sidecars)), strict=True))

    @asynccontextmanager
    async def counting(self) -> AsyncIterator["Counting"]:
        """Count what the sidecars count while the block lasts: ask what it gives for that."""
        yield Counting(self, await self.look())

    @asynccontextmanager
    async def heard(self, url: str) -> AsyncIterator["Listener"]:
        """Listen to what a sidecar grants: nothing, for nothing is asked for."""
        listener = Listener()
        async with aclosing(grants(self.client, url, Share(0), self.run_id, self.token())) as stream:

            async def follow() -> None:
                try:
                    async for grant in stream:
                        listener.take(grant, time.monotonic())
                except (RefusedError, httpx.HTTPError, httpx.StreamError, ValueError) as error:
                    listener.ended = str(error) or type(error).__name__
                    listener.refused = isinstance(error, RefusedError)
                finally:
                    listener.news.set()

            task = asyncio.create_task(follow())
            try:
                yield listener
            finally:
                task.cancel()
                await asyncio.wait({task})


class Counting:
    """Counts since a moment."""

    def __init__(self, scene: Scene, before: Mapping[str, State]) -> None:
        self._scene = scene
        self._before = before

    async def until(self, synthetic: int = 0, untrusted: int = 0) -> Seen:
        """Wait until so many were counted, but not for long; tell how many were."""
        until = time.monotonic() + SETTLING
        while True:
            now = await self._scene.look()
            seen = Seen(
                sum(_kind(now[url], "synthetic") - _kind(state, "synthetic") for url, state in self._before.items()),
                sum(_kind(now[url], "untrusted") - _kind(state, "untrusted") for url, state in self._before.items()),
                sum(now[url].accounting.synthetic - state.accounting.synthetic for url, state in self._before.items()),
                all(state.accounting.reconciles() for state in now.values()),
            )
            enough = seen.synthetic >= synthetic and seen.untrusted >= untrusted
            if (enough and seen.recorded_as_synthetic >= synthetic) or time.monotonic() > until:
                return seen
            await asyncio.sleep(PULSE)


def _kind(state: State, kind: str) -> int:
    return sum(state.requests.get(kind, {}).values())


class Listener:
    """What came of a grant stream."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.ended = ""
        """Why it ended, if it did."""
        self.refused = False
        """Whether that was because of the load tag."""
        self.news = asyncio.Event()
        self.newest: Grant | None = None
        self.at = self.began
        self._grants = 0
        self._gap = 0.0
        self._first = 0

    def take(self, grant: Grant, now: float) -> None:
        """Take a grant."""
        if self.newest is None:
            self._first = grant.real
        self._gap = max(self._gap, now - self.at)
        self.newest, self.at = grant, now
        self._grants += 1
        self.news.set()

    async def reaches(self, moment: float, seconds: float) -> None:
        """Wait for a grant that came after a (monotonic) moment, or for the end of the stream; not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.at <= moment and not self.ended:
                    self.news.clear()
                    await self.news.wait()

    @property
    def real(self) -> int:
        """Real requests since the stream began, as far as is known."""
        return self.newest.real if self.newest else 0

    def watched(self, now: float) -> Watched:
        """Sum it up."""
        rate = self.newest.signal.rate if self.newest else 0.0
        return Watched(self._grants, now - self.began, self.real - self._first, max(self._gap, now - self.at), rate)


@asynccontextmanager
async def scene(plan: Plan, run_id: str, signer: Signer, selection: Selection) -> AsyncIterator[Scene]:
    """Set the scene for a preflight of a plan. Raises UserError, CaptureError."""
    async with control_client(plan) as client:
        here = Scene(plan, run_id, signer, selection, client)
        try:
            here.look_at_recording()
            async with here.stack:
                yield here
        finally:
            here.close()
