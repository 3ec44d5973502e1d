"""From what was measured to a verdict that can be defended.

Read in this order:

- `verdict`: the model behind `verdict.json`: HOLDS, DOES NOT HOLD or NOT PROVEN, and all that it rests on.
- `evidence`: what it rests on: the incident and every replay of it, in intervals of time.
- `figures`: the incident's own figures. `reading`: a drill's folder becomes evidence. Edge.
- `bootstrap`: how far a share can be from the one that was measured. `criteria`: what has to hold, held against it.
- `rows`: each route, all together, and the small ones. `saturation`: requests that pile up. `down`: a
  target that goes down for good. `turned`: one that turns users away.
- `headroom`: how much it bears, and what gives way first.
- `objections`: what stands against a verdict, however good or bad the figures are. `conditions`: what it depends on.
- `judging`: the decision.

All but `reading` is pure. What one request tells is not independent of what its neighbours tell; intervals of time are.
numpy and scipy are imported here and nowhere else.
"""
