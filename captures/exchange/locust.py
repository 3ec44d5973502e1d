"""A Locust file of the same mix and rates. Pure but for the file given.

Locust knows users that wait for answers, a closed model. So one user sends on a schedule and waits for nothing: every
request has a greenlet of its own, as in an open model. Which request is the n-th, `schedule` says, here once more.
"""

from collections.abc import Iterable
from typing import BinaryIO

from captures.exchange.mix import Example, Mix, laid_out, mixed, run_name, say
from captures.exchange.notes import Notes
from captures.exchange.options import WriteOptions
from captures.exchange.scripts import filled, head, shares
from captures.records import Record

_MAX_IN_FLIGHT = 1000

_OWN = f"""\
Everything is sent as HTTP/1.1. What Locust itself adds where the recording has none: User-Agent, Accept-Encoding.
One user sends the whole recording once, whatever the answers do, and then ends the run; two users (-u 2) send it
twice at the same time. One process can send some thousand requests a second; what finds {_MAX_IN_FLIGHT} under way is
not sent and counts as a failure."""

_SCRIPT = '''\
@HEAD@

import os
import time
from bisect import bisect_right

import gevent
import gevent.pool
from locust import FastHttpUser, task

BASE_URL = os.environ.get("BASE_URL", @BASE_JSON@).rstrip("/")
if not BASE_URL:
    raise SystemExit("Say where: BASE_URL=http://127.0.0.1:8000")
MARK = @MARK@
MAX_IN_FLIGHT = @MAX_IN_FLIGHT@

STAGE = @SECONDS@  # seconds
# Of each stage its first request's number, how many there are, and of its routes: which, how many of this and those
# before it, how many in the stages before.
STAGES = [
@STAGES@
]

# Of each route its name, where its requests begin, and what share of its own each of them stands for.
ROUTES = [
@ROUTES@
]

# Method, path, headers, body.
REQUESTS = [
@REQUESTS@
]


def arrivals():
    """Give the second of each request, its stage and its place in it."""
    for number, stage in enumerate(STAGES):
        count = stage[1]
        for place in range(count):
            yield STAGE * (number + (place + 0.5) / count), stage, place


def picked(stage, place):
    """Give the name of a route and a request.

    A walk by about the golden section comes by each place of a stage once, and by its routes in turn.
    """
    _, count, step, routes, up_to, before = stage
    at = place * step % count
    row = bisect_right(up_to, at)
    number = before[row] + at - (up_to[row - 1] if row else 0)
    name, first, step, cycle, up_to = ROUTES[routes[row]]
    at = number % cycle * step % cycle
    return name, REQUESTS[first + bisect_right(up_to, at * up_to[-1] // cycle)]


class Recorded(FastHttpUser):
    host = BASE_URL
    concurrency = MAX_IN_FLIGHT
    max_retries = 0

    def on_start(self):
        self.client.client.cookiejar = None  # each request has the cookies that it had
        # Not allow_redirects=False: that is set and reset on the client, which all requests under way share.
        self.client.client.redirect_response_codes = frozenset()

    @task
    def play(self):
        pool = gevent.pool.Pool(MAX_IN_FLIGHT)
        begun = time.monotonic()
        for at, stage, place in arrivals():
            gevent.sleep(max(0, begun + at - time.monotonic()))
            name, request = picked(stage, place)
            if pool.full():
                self.missed(name, request)
            else:
                pool.spawn(self.send, name, request)
        pool.join(timeout=30)
        self.environment.runner.quit()

    def send(self, name, request):
        method, path, headers, body = request
        self.client.request(method, path, name=name.partition(" ")[2], headers={**headers, **MARK}, data=body)

    def missed(self, name, request):
        self.environment.events.request.fire(
            request_type=request[0],
            name=name.partition(" ")[2],
            response_time=0,
            response_length=0,
            exception=RuntimeError("not sent: too many requests are under way"),
            context={},
        )
'''


def write(records: Iterable[Record], file: BinaryIO, options: WriteOptions, notes: Notes) -> None:
    """Write a Locust file. Raises CaptureError if nothing of the recording can be sent."""
    mix = mixed(records, options, notes)
    say(mix, notes, "evenly spaced, and mixed, but not in the order that they came in, by one user that never waits")
    file.write(_script(mix, options).encode())


def _script(mix: Mix, options: WriteOptions) -> str:
    now = f'time.strftime("{run_name(options, "locust")}-%Y%m%dT%H%M%SZ", time.gmtime())'
    run = f'{{"x-load-test": os.environ.get("RUN") or {now}}}'
    parts = {
        "HEAD": head(mix, options, "Locust", "locust -f FILE --headless", _OWN, begin="#"),
        "MARK": run if options.mark else "{}",
        "SECONDS": f"{mix.stage:.6f}",
        "BASE_JSON": ascii(mix.base),
        "MAX_IN_FLIGHT": f"{_MAX_IN_FLIGHT}",
        "STAGES": _lines(tuple(stage) for stage in laid_out(mix)),
        "ROUTES": _lines((route.name, first, *share) for route, first, share in shares(mix)),
        "REQUESTS": _lines(_request(one) for route in mix.routes for one in route.examples),
    }
    return filled(_SCRIPT, parts)


def _lines(values: Iterable[object]) -> str:
    return "\n".join(f"    {value!a}," for value in values)


def _request(example: Example) -> tuple[object, ...]:
    # Locust's client writes headers as Latin-1: so each byte is what it was.
    headers = {name: value.encode().decode("latin-1") for name, value in example.headers.items()}
    return (example.method, example.path, headers, example.body or None)
