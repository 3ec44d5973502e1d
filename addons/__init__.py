"""The sidecar: add-ons for mitmproxy, and the only room that imports it.

A request meets them in this order, each one small and with one job:

- `tag`: tells real, synthetic and untrusted apart, and strips tags that do not verify.
- `meter`: counts and times by kind; what real users get now.
- `guard`: the ceiling. Real requests earn credit, synthetic ones spend it or are refused.
- `capture`: hands what real users sent to the capture log; `selection` is what of it, and for how long.
- `forwarded`: tells the app who asked, and everybody that a sidecar is on the way, if it is told to.
- `control`: opens the control port: state, metrics, the grant stream, the lever.

`passage` is what they leave in a flow for each other, `refusal` how they answer instead of the app,
`glance` how they look at headers without it costing anything.

What they count and decide lies in `books`: memory that several workers and the process that serves the control port
can share. `credit` is the ceiling over all of them, `reckoning` adds their rows up, `exposition` gives the sums to
Prometheus, and `controlport` serves them. None of these imports mitmproxy. Nor do the decisions in modules of their
own, without clock or socket: `window` (the sliding signal), `granting` (credit shared out to replayers), `judging` (why
a tag counts for nothing), `lever` (the latching stop), `access` (who may change something).

Offline, `flowfiles` turns mitmproxy's flow files into records and records into flows, and `filtering` answers
mitmproxy's filter language on records.

`lanes` chooses the way that a connection is carried: `fastlane` takes plain HTTP/1.1 past mitmproxy's own stack, with
the same add-ons; all the rest goes through that stack, the full lane.

`reamp sidecar` is several processes. None of what the first one consists of imports mitmproxy:

- `supervisor`: holds the port (`holding`, `listening`), serves the control port, obeys signals.
- `crew`: starts the workers, watches them, exchanges them; `posts` decides when one that died is replaced.
- `orders`: what the two kinds of processes say to each other.
- `worker`: a worker's beginning and its ear for orders; `doors` is where it accepts.
- `embedded`: runs the add-ons in a slim master of our own; `farewell` helps it to end.

`chain` gives the list of add-ons to `worker`, and to stock mitmproxy (`deploy/sidecar.py`). `internals` is the only
place that leans on mitmproxy's internals or changes them.

May import `captures`, `loadtag` and `rules`, never `reamp` or `replayer`.
"""
