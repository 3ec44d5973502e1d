"""What both ends of the wire must agree on. Pure: no clock, no socket, no file.

Read in this order:

- `units`: the quantities people write (``25%``, ``1.25x``, ``10s``, ``100/s``, ``64KiB``) and their exact values.
- `credit`: the bucket behind the ceiling. It stands twice: the guard in the sidecar fills it from real requests,
  the replayer fills its own from what sidecars grant.
- `exits`: how a command ends, and the one exception for a user's mistake.
- `wire`: the messages of the control port, and how the guard says that it withheld a request.

`addons` (one end) and `replayer` (the other) both import this room and never each other; this room imports none of
the others.
"""
