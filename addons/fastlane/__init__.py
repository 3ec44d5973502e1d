"""The fast lane: plain HTTP/1.1 carried past mitmproxy's own stack, with the same add-ons on the same flows.

    client -- connection ------- exchange -------- upstream -- app
                  |                  |
                  |                  +-- hooks on a real HTTPFlow: an add-on can't tell which lane it is in
                  +-- what is not plain goes, before any hook has fired, to the full lane

In the order in which a request meets them:

- `lane`: one server's connections, clock and settings.
- `link`: one end of the lane: bytes in, bytes out, a peer that does not keep up.
- `connection`: a client's connection, as one coroutine: head after head, handed over when it is odd.
- `secured`: what was agreed on with a client whose TLS ended before either lane.
- `phases`: what a connection waits for, and how long it may.
- `head`: a whole head or nothing: one strict pattern for each. Pure.
- `exchange`: one request and its answer, hook by hook.
- `bodies`: bodies taken apart by the framing they came in, passed on in the one they leave by. Pure.
- `chunked`: the chunked framing. Pure.
- `upstream`: connections to the app, and the pool that keeps them.
- `lenient`: answers that are not plain, read as mitmproxy reads them.
- `wire`: messages that were changed on the way, as bytes.
- `errors`: why an exchange ends early.

Whoever wants to know what is passed on: `docs/http-conformance.md` compares both lanes with nginx, case by case.
"""
