"""The sidecar: add-ons for mitmproxy, and the only room that imports it.

A request meets them in this order, each one small and with one job:

- `tag`: tells real, synthetic and untrusted apart, strips forged tags, and refuses what only a replay can have sent but
  does not count. `revoking` follows the list of keys and runs that were revoked.
- `meter`: counts and times by kind; what real users get now.
- `guard`: the ceiling. Real requests earn credit, synthetic ones spend it or are refused.
- `tap`: where what comes are only copies, answers them.
- `capture`: hands what real users sent to the capture log; `selection` is what of it, and for how long.
- `learning`: tells the egress which traces are synthetic (`traces` is that memory, `traceheaders` where they stand in
  requests); only there if there is an egress.
- `dark`: hands copies of real requests over to an aide, if it is told to (`dark/` is all about them).
- `forwarded`: tells the app who asked, and everybody that a sidecar is on the way, if it is told to.
- `control`: opens the control port in a proxy of one process; a supervisor opens it for many.

`chain` is the list of them. `passage` is what they leave in a flow for each other, `refusal` how they answer instead of
the app, `glance` how they look at headers without it costing anything, `streamed` how they listen to a body on its way.

What they count and decide lies in `books`: memory (`shared`) that several workers and the process that serves the
control port have in common. `credit` is the ceiling over all of them, `reckoning` adds their rows up over a `window`
(the sliding signal). `watchman` counts for those who want to know what users get: `recounting` makes the lines of that
stream, `ruling` holds the owner's rules against it. None of these imports mitmproxy; `window`, `recounting` and
`ruling` have neither clock nor socket.

The folders, each with a map of its own:

- `processes`: `reamp sidecar` is several. The supervisor holds the port and carries nothing, workers carry users'
  requests, aides do what goes on beside them.
- `controlport`: state, metrics, the grant stream, the lever's page. `lever`: the latching stop and how it is pulled.
- `embedded`: a slim mitmproxy master of our own, in which a worker runs the chain.
- `fastlane` takes plain HTTP/1.1 past mitmproxy's own stack, with the same add-ons; all the rest goes through that
  stack, the full lane. `lanes` chooses for each connection.
- `internals`: the only place that leans on mitmproxy's internals or changes them.
- `egress`: the aide that the app's own calls go through. `parties`: what synthetic calls get there that would leave the
  trust boundary.
- `dark`: dark traffic, the aide that sends copies of real requests to a service that users do not see.

Offline, `flowfiles` turns mitmproxy's flow files into records and records into flows, and `filtering` answers
mitmproxy's filter language on records.

Stock mitmproxy runs the same `chain`, see `deploy/sidecar.py`.

May import `captures`, `loadtag` and `rules`, never `reamp`, `replayer` or `drill`.
"""
