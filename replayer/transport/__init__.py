"""The way to the target: a bounded pool of connections that tells what became of each request.

- `failures`: what can go wrong, by name.
- `outcomes`: what a pool is told of its target, and what it tells.
- `heads`: what the head of an answer says.
- `http1`: one request at a time on a connection.
- `pool`: the connections to one place.

Used by the engine through `Pool`: ask for a `shortage`, `send`, `sweep` now and then, `withdraw`, `close`.
"""

from replayer.transport.failures import FAILURES, Failure
from replayer.transport.outcomes import Answer, Outcomes, Shortage, Target, Withdrawal
from replayer.transport.pool import Pool

__all__ = ["FAILURES", "Answer", "Failure", "Outcomes", "Pool", "Shortage", "Target", "Withdrawal"]
