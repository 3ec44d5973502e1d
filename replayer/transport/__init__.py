"""The way to the target: a bounded pool of connections that tells what became of each request.

- `failures`: what can go wrong, by name.
- `outcomes`: what a pool tells of each request. `target`: where requests go, and how.
- `tls`: whom to trust, and what to show.
- `carrier`: what a connection and its pool are to each other.
- `heads`: what the head of an answer of HTTP/1.1 says. `fields`: those of HTTP/2.
- `http1`: one request at a time on a connection. `http2`: many.
- `greeter`: finds out what is spoken on a new connection.
- `pool`: the connections to one place. `authorities`: a pool for each, where that has to be.

Used through what `connections` gives: ask for a `shortage`, `send`, `sweep` now and then, `withdraw`, `close`.
"""

from replayer.transport.authorities import connections
from replayer.transport.failures import FAILURES, Failure
from replayer.transport.outcomes import Answer, Outcomes, Shortage, Withdrawal
from replayer.transport.pool import Pool
from replayer.transport.target import Target, target

__all__ = [
    "FAILURES",
    "Answer",
    "Failure",
    "Outcomes",
    "Pool",
    "Shortage",
    "Target",
    "Withdrawal",
    "connections",
    "target",
]
