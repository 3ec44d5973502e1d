"""Is the clone a fair stand-in for what went down? A short comparison before the load.

Data flows down:

- `population`: the incident's requests by route, and which of them stand for each.
- `choosing`: which of these the clone is asked. `asking`: asks it, one request at a time. Edge.
- `replies`: one request, and in what the clone's answer is another one; `rows`: the list that an answer consists of.
- `comparing`: what that comes to by route, and what it means for the verdict; `sizing`: the same of sizes alone, and
  `weighing`: how grave it is.
- `overall`: what adds up over all routes, and what was not compared.
- `resources`: processors and memory, as files tell them. `conditions`: what else people say of clone and production.
- `fairness`: all that was found.

`checking` puts them together, `warming` plays some of the incident first, `showing` tells people: edges. All others are
pure.
"""
