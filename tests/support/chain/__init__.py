"""A shop of four real services behind one sidecar, to see whether each of them knows what is load and what is not.

    users, replay -> sidecar -> front (FastAPI, httpx) -> warehouse (Flask, requests) -> courier (aiohttp)
                                                               |
                                                          queue (Redis)
                                                               v
                          warehouse <- (aiohttp client) courier's hand (gRPC client) -> ledger (gRPC)

- The services: `front`, `warehouse`, `courier`, `ledger`. What each is told when it starts, and its diary: `setting`.
- How the mark passes through them: `with_library` (loadtag's middleware and hooks), `with_traces` (OpenTelemetry with
  `traceparent` alone, and nothing of loadtag), `with_both` (loadtag, and calls by the egress); all offer what `passing`
  says.
- Who orders: `users`. All of it together, with the sidecar: `site`.
- Whether it came out even, order by order: `reckoning`, which is pure.

Each order is given a number of its own at the front, so that one request can be followed to the end, and its name tells
who sent it, whatever the headers say: ``user-17.4`` or ``recorded-3.5``.
"""
