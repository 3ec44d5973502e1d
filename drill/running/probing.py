"""Sends a few requests to the clone, one at a time, to see whether it is at rest. Edge: own connections.

They bear the drill's load tag, as every request of it does, and only read.
"""

import asyncio
import time
from collections.abc import Sequence

from drill.fairness.asking import LONGEST, guarded
from drill.running.calm import FIRST_ROUNDS, PAUSE, Answered, Calm, Rested
from drill.running.survey import Example
from replayer.plan import Plan
from replayer.preparing.prepared import Prepared
from replayer.prober import SWEEP, Asker
from replayer.requests.tagging import Tag
from replayer.transport import Answer, target
from replayer.transport.failures import FAILURES

BETWEEN = 0.05
"""Seconds between two rounds before the load."""


class Probes:
    """Asks one clone, again and again. Close it when done."""

    def __init__(self, prepared: Prepared, plan: Plan, examples: Sequence[Example]) -> None:
        """`examples` are of the encoder in `prepared`, whose run they name."""
        tag = Tag(prepared.signer, prepared.run_id, prepared.terms.audience, plan.tag_lifetime)
        self._clock = time.monotonic_ns
        self._asker = Asker(
            target(plan, prepared.tls),
            self._clock,
            lambda: tag.token(time.time()),
            lambda _: None,
            lambda: True,
            kept=1,
            longest=LONGEST,
        )
        self._to = plan.to
        self._examples = examples
        self._failures: list[str] = []  # the kinds of them, each once
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def round(self, calm: Calm | None = None) -> list[Answered]:
        """Send each request once. Raises UserError where there are real users."""
        answers = []
        for example in self._examples:
            answers.append(await self._ask(example))
            if calm is not None:
                calm.answered(answers[-1])
        return answers

    async def learn(self) -> Calm:
        """Learn how the clone answers without load. One that answers nothing at all is asked once: it may hang."""
        rounds: list[list[Answered]] = []
        while len(rounds) < FIRST_ROUNDS:
            rounds.append(await self.round())
            if all(answer.seconds is None for answer in rounds[0]):
                break
            await asyncio.sleep(BETWEEN)
        return Calm(rounds)

    async def rest(self, calm: Calm, within: float, *, back: bool = False) -> Rested:
        """Wait until the clone is at rest, at most so many seconds; tell whether it is. `back`: any answer will do."""
        calm.begin()
        try:
            async with asyncio.timeout(within):
                answers = await self.round(calm)
                while not (calm.look(answers) or (back and calm.back)):
                    await asyncio.sleep(PAUSE)
                    answers = await self.round(calm)
        except TimeoutError:
            return Rested(False, calm.silence)
        return Rested(True)

    @property
    def reasons(self) -> str:
        """What went wrong, for people; empty if all was answered."""
        return "; ".join(self._asker.reasons.values()) or ", ".join(self._failures)

    async def close(self) -> None:
        """Close all connections."""
        self._sweeper.cancel()
        await asyncio.gather(self._sweeper, return_exceptions=True)
        self._asker.close()

    async def _ask(self, example: Example) -> Answered:
        begun = self._clock()
        answer = await self._asker.ask(example.request)
        guarded(self._to, answer)
        if not isinstance(answer, Answer):
            if answer not in self._failures:
                self._failures.append(answer)
            # While there is no connection to be had, it is the failure before that tells why.
            return Answered(None, failure=answer if answer in FAILURES else "")
        return Answered((self._clock() - begun) / 1e9, answer.status)

    async def _sweep(self) -> None:
        while True:
            self._asker.sweep()
            await asyncio.sleep(SWEEP)
