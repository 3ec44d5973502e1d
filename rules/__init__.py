"""What both ends of the wire must agree on, or would write twice. Pure but for `certificates` and `files`.

Read in this order:

- `units`: the quantities people write (``25%``, ``1.25x``, ``10s``, ``100/s``, ``64KiB``) and their exact values.
- `credit`: the bucket behind the ceiling. It stands twice: the guard in the sidecar fills it from real requests,
  the replayer fills its own from what sidecars grant.
- `clocks`: whether somebody set the clock on the wall, by which load tags are judged.
- `certificates`: has one end of a connection show a certificate, or says what is wrong with its files. Edge.
- `exits`: how a command and a process end, and the one exception for a user's mistake.
- `files`: reads a small file that somebody named, and never more of it than a bound. Edge.
- `latency`: the cells in which times are counted, so that counts of both ends can be added.
- `experience`: what requests get, as counts that can be merged over time and over sidecars.
- `slo`: the rules that people make about that: what must hold, over which window, and what if it does not.
- `wire`: the messages of the control port, and how the guard says that it withheld a request.

`addons` (one end) and `replayer` (the other) both import this room and never each other; this room imports none of
the others.
"""
