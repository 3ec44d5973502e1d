"""The incident drill: from what is left of an incident to whether the fix holds under the same traffic.

Data flows down:

- `sources`: whatever is left of an incident, and how it becomes a file. A folder with a map of its own.
- `drawing`: when requests came of which only the rates are known; `filling`: what they ask for. Pure.
- `story`: what an incident was, beside its requests: where it is from, when, what came back, what is not known. Pure.
- `incident`: the file that holds both. It is a segment of the capture log, so all that reads captures reads it. Edge.
- `outline`: what is in one, in figures, for people and programs. Pure.
- `fairness`: is the clone a fair stand-in? A folder with a map of its own.
- `running`: what is run on the clone, step after step. A folder with a map of its own.
- `judging`: from what was measured to the verdict. A folder with a map of its own.
- `onward`: what a load script for another tool has to know of an incident, or of a drill. Edge.
- `reporting`: from the verdict to what people and CI read of it. A folder with a map of its own.

May import `captures`, `replayer`, `loadtag` and `rules`; never `reamp`, `addons` or mitmproxy. None but `reamp` imports
this room.
"""
