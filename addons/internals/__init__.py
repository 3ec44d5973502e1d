"""The only place that leans on mitmproxy's internals. One trick to a module, each with a self-test.

All of it was tested with mitmproxy 12.2. A trick whose self-test fails (in a later version, say) is left out after one
warning: the sidecar then works the plain way, only slower.

- `trial`: runs a self-test and says once what is left out.
- `dispatch`: the add-ons' hooks, resolved once for each change of the add-ons instead of for each event.
- `handler`: carries a connection; hooks that need no waiting run in place instead of as tasks.
- `modes`: the proxy mode of the sidecar, a reverse proxy whose connections begin in the fast lane and are else carried
  by `handler`.
- `outward`: the proxy mode of the egress; `targets`: its request lines, read by hosts that are known.
- `flows`: flows and messages built without their constructors, for the fast lane.
- `messages`: the type checks of every message's fields, left out.
- `contexts`: a connection's context, forked without making what is thrown away.
- `lookups`: headers looked up without the layers in between.
- `loop`: uvloop, with tasks that start as mitmproxy wants them to.
- `mending`: where mitmproxy would harm a real user, mended.
- `slimming`: the stock add-ons, not even imported.
- `quickening`: applies them to one master; this is what the rest of the room calls.
"""
