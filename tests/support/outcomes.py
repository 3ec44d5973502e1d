"""Whom a pool tells, in a test."""

import asyncio
from typing import get_args

from replayer.requests.encoding import Request
from replayer.transport import Answer, Failure, Withdrawal
from replayer.transport.failures import Unconnected


class Outcomes:
    """Keeps what it is told: a status, ``withheld:…`` or the kind of failure."""

    def __init__(self) -> None:
        self.seen: asyncio.Queue[int | str] = asyncio.Queue()
        self.answers: list[Answer] = []
        self.retries = True
        self.why_not: Withdrawal | None = None
        self.written = 0
        self.tag = b"token"
        self.woken = 0

    def answered(self, answer: Answer) -> None:
        assert answer.due_ns <= answer.sent_ns <= answer.first_ns <= answer.ended_ns
        self.answers.append(answer)
        self.seen.put_nowait(f"withheld:{answer.withheld}" if answer.withheld else answer.status)

    def sent(self, due: int, ready: int, sent: int) -> None:
        assert due <= ready <= sent
        self.written += 1

    def withdrawal(self, _since: int, *, again: bool) -> Withdrawal | None:
        return self.why_not

    def withdrawn(self, _request: Request, why: Withdrawal) -> None:
        self.seen.put_nowait(f"withdrawn:{why}")

    def failed(self, _request: Request, sent: int | None, failure: Failure) -> None:
        # TLS can break later too, and HTTP/2 before there was anything to send over.
        assert sent is None or failure not in {*get_args(Unconnected)} - {"tls"}
        self.seen.put_nowait(failure)

    def token(self) -> bytes:
        return self.tag

    def may_retry(self) -> bool:
        return self.retries

    def ready(self) -> None:
        self.woken += 1
