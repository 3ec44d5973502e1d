"""A Locust file of the same mix and rate. Pure but for the file given.

Locust knows users that wait for answers, a closed model. So one user sends on a schedule and waits for nothing: every
request has a greenlet of its own, as in an open model.
"""

from collections.abc import Iterable
from typing import BinaryIO

from captures.exchange.k6 import filled
from captures.exchange.mix import Example, Mix, mixed, say
from captures.exchange.notes import Notes
from captures.exchange.options import WriteOptions
from captures.moments import iso
from captures.records import Record

_SCRIPT = '''\
# A load test for Locust, made by reamp of the recording @NAME@
# (@TOTAL@ requests, @FIRST@ to @LAST@).
#
#     locust -f FILE --headless                               to @BASE@, where most of it went
#     BASE_URL=http://127.0.0.1:8000 locust -f FILE --headless    to another place
#
# What is kept: the number of requests in each stage of @SECONDS@ s, and each endpoint's share, exactly.
# What is not: the moments within a stage (they are spaced evenly), who came after whom, and of each endpoint all but a
# drawn sample of requests. Secrets are pseudonyms if the recording was redacted. Everything is sent as HTTP/1.1.
# What Locust itself adds where the recording has none: User-Agent, Accept-Encoding. Host is that of BASE_URL.
# One user sends the whole recording once, whatever the answers do, and then ends the run; two users (-u 2) send it
# twice at the same time. One process can send some thousand requests a second; what finds @MAX_IN_FLIGHT@ under way
# is not sent and counts as a failure.
# Nothing holds this load under reamp's ceiling: keep it off production.@UNSAFE@

import os
import time
from bisect import bisect_right
from itertools import accumulate

import gevent
import gevent.pool
from locust import FastHttpUser, task

BASE_URL = os.environ.get("BASE_URL", @BASE_JSON@).rstrip("/")
MAX_IN_FLIGHT = @MAX_IN_FLIGHT@

STAGE = @SECONDS@  # seconds
STAGES = @STAGES@  # requests in each

# How many requests it stands for, name, method, path, headers, body.
REQUESTS = [
@REQUESTS@
]
UP_TO = list(accumulate(request[0] for request in REQUESTS))


def arrivals():
    """Give the second of each request."""
    for number, count in enumerate(STAGES):
        for one in range(count):
            yield STAGE * (number + (one + 0.5) / count)


def drawn(number):
    """Multiples of the golden ratio fall evenly into [0, 1): shares are right in short runs too."""
    return REQUESTS[bisect_right(UP_TO, (number + 0.5) * 0.6180339887498949 % 1 * UP_TO[-1])]


class Recorded(FastHttpUser):
    host = BASE_URL
    concurrency = MAX_IN_FLIGHT
    max_retries = 0

    def on_start(self):
        self.client.client.cookiejar = None  # each request has the cookies that it had

    @task
    def play(self):
        pool = gevent.pool.Pool(MAX_IN_FLIGHT)
        begun = time.monotonic()
        for number, at in enumerate(arrivals()):
            gevent.sleep(max(0, begun + at - time.monotonic()))
            if pool.full():
                self.missed(number)
            else:
                pool.spawn(self.send, number)
        pool.join(timeout=30)
        self.environment.runner.quit()

    def send(self, number):
        _, name, method, path, headers, body = drawn(number)
        self.client.request(
            method, path, name=name.partition(" ")[2], headers=dict(headers), data=body, allow_redirects=False
        )

    def missed(self, number):
        _, name, method, _, _, _ = drawn(number)
        self.environment.events.request.fire(
            request_type=method,
            name=name.partition(" ")[2],
            response_time=0,
            response_length=0,
            exception=RuntimeError("not sent: too many requests are under way"),
            context={},
        )
'''

_MAX_IN_FLIGHT = 1000


def write(records: Iterable[Record], file: BinaryIO, options: WriteOptions, notes: Notes) -> None:
    """Write a Locust file. Raises CaptureError if nothing of the recording can be sent."""
    mix = mixed(records, options, notes)
    say(
        mix,
        notes,
        "evenly spaced within each, drawn by share and not in their order, by one user that waits for nothing",
    )
    file.write(_script(mix, options).encode())


def _script(mix: Mix, options: WriteOptions) -> str:
    unsafe = f"\n# {mix.unsafe} requests are not GET, HEAD or OPTIONS, and may change what they are sent to."
    parts = {
        "NAME": ascii(options.source),
        "TOTAL": f"{mix.total}",
        "FIRST": iso(options.first_ns),
        "LAST": iso(options.last_ns),
        "SECONDS": f"{mix.stage:.6f}",
        "BASE": ascii(mix.base)[1:-1],
        "UNSAFE": unsafe if mix.unsafe else "",
        "BASE_JSON": ascii(mix.base),
        "MAX_IN_FLIGHT": f"{_MAX_IN_FLIGHT}",
        "STAGES": repr(mix.stages),
        "REQUESTS": "\n".join(f"    {_request(one)}," for one in mix.examples),
    }
    return filled(_SCRIPT, parts)


def _request(example: Example) -> str:
    # Locust's client writes headers as Latin-1: so each byte is what it was.
    headers = {name: value.encode().decode("latin-1") for name, value in example.headers.items()}
    return ascii((*example[:4], headers, example.body or None))
