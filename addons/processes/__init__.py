"""The processes of `reamp sidecar`. One holds the port and carries nothing, so that it always has time.

    supervisor (port, control port, lever)
        crew --- worker, worker, ...   carry users' requests, accept at the port themselves
        aide --- egress, dark, ...     carry no users' requests, count in tallies

- `supervisor`: holds the port (`holding`: who is in charge of it; `listening`: its sockets), serves the control port,
  obeys signals.
- `crew`: starts the workers, watches them, exchanges them; `posts` decides when one that died is replaced. Pure.
- `aide`: a process beside the workers, and what the supervisor holds for it; `tallies` is what it counts.
- `child`: either of them as seen from above, from its start to its end; `orders`: what is said to it and by it.
- `worker`: a worker from within; `ear` hears orders, `doors` is where it accepts.

Of these only `worker` imports mitmproxy: the others start at once and stay small.
"""
