"""One drill: what is run on the clone, step after step, and what is written down of it.

Data flows down. Pure decisions, without clock, socket or file:

- `plan`: what was asked for, validated; the replay that each step is.
- `record`: what a drill writes down of itself: `drill.json`, with each step. Whoever judges a drill reads it.
- `survey`: what of the incident can be sent, which part of it is the heaviest, and by which requests rest is known.
- `steps`: which step comes next, given what was found so far: warm-up, repeats, the search for the breaking point.
- `outcome`: whether the rules held in a step, at a glance.
- `calm`: whether the clone has come to rest.

Edges:

- `folder`: the drill's folder. `probing`: asks the clone now and then.
- `running`: puts them together into one drill. `progress`: what people see of it.
"""
