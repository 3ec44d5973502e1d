"""The sidecar: add-ons for mitmproxy, and the only room that imports it.

A request meets them in this order, each one small and with one job:

- `tag`: tells real, synthetic and untrusted apart, strips forged tags, and refuses what only a replay can have sent but
  does not count. `revoking` follows the list of keys and runs that were revoked.
- `meter`: counts and times by kind; what real users get now.
- `guard`: the ceiling. Real requests earn credit, synthetic ones spend it or are refused.
- `tap`: where what comes are only copies, answers them.
- `capture`: hands what real users sent to the capture log; `selection` is what of it, and for how long.
- `learning`: tells the egress which traces are synthetic; only there if there is one.
- `dark`: hands copies of real requests over to an aide, if it is told to (`dark/` is all about them).
- `forwarded`: tells the app who asked, and everybody that a sidecar is on the way, if it is told to.
- `control`: opens the control port: state, metrics, the grant stream, the lever.

`passage` is what they leave in a flow for each other, `refusal` how they answer instead of the app,
`glance` how they look at headers without it costing anything, `streamed` how they listen to a body on its way.

What they count and decide lies in `books`: memory (`shared`) that several workers and the process that serves the
control port have in common. `credit` is the ceiling over all of them, `reckoning` adds their rows up, `exposition`
gives the sums to Prometheus, and `controlport` serves them; `watchman` counts for those who want to know what users
get. None of these imports mitmproxy. Nor do the decisions in modules of their own, without clock or socket: `window`
(the sliding signal), `recounting` (the lines of the stream of experience), `ruling` (the owner's rules), `granting`
(credit shared out to replayers), `overrun` (who sends without any), `judging` (why a tag counts for nothing), `lever`
(the latching stop), `access` (who may look at something, or change it).

The control port's edges: `visitors` are its connections, `certificate` its TLS, `attempts` counts wrong tokens,
`statuspage` is what a browser is shown (made of `page/`). The lever is pulled there, by a signal (`stopsignal`) and by
a file (`leverfile`); `people` are those who do.

Offline, `flowfiles` turns mitmproxy's flow files into records and records into flows, and `filtering` answers
mitmproxy's filter language on records.

`lanes` chooses the way that a connection is carried: `fastlane` takes plain HTTP/1.1 past mitmproxy's own stack, with
the same add-ons; all the rest goes through that stack, the full lane.

`reamp sidecar` is several processes. None of what the first one consists of imports mitmproxy:

- `supervisor`: holds the port (`holding`, `listening`), serves the control port, obeys signals.
- `crew`: starts the workers, watches them, exchanges them; `posts` decides when one that died is replaced.
- `child`: one process of the sidecar's own, from its start to its end; `orders`: what is said to it and by it.
- `worker`: a worker's beginning; `ear` hears orders, `doors` is where it accepts.
- `aide`: processes beside the workers, that carry no users' traffic; `tallies` is what they count.
- `egress`: the aide that the app's calls go through; `traces` is what workers and it know of traces, `traceheaders`
  where those stand in requests.
- `thirdparties`: its add-on for synthetic calls that would leave the trust boundary; `parties` has their rules.
- `embedded`: runs the add-ons in a slim master of our own (`embedding`, which `starting` helps to begin and `farewell`
  to end).

`chain` gives the list of add-ons to `worker`, and to stock mitmproxy (`deploy/sidecar.py`). `internals` is the only
place that leans on mitmproxy's internals or changes them.

May import `captures`, `loadtag` and `rules`, never `reamp` or `replayer`.
"""
