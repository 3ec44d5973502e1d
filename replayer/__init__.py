"""The replayer: plays a recording back, louder, and never past the ceiling.

Read in the order in which a request comes to be; each folder has a map of its own. What stands here
imports only what stands above it.

Pure decisions, without clock, socket or file, with few edges among them:

- `permission`: what may be sent at all: the credit that sidecars granted, and whether they are still heard.
- `comparing`: which route a request belongs to, and what came back beside what came back then.
- `schedule`: which request is due when, and when a run may run.
- `plugins`: functions of the user's own that change requests. Public: plugins import it.
- `requests`: a record becomes the bytes to send, or a reason why it must not be sent.
- `addresses`: where to connect to instead of where a name leads.
- `plan`: what was asked for, validated with the arithmetic shown.
- `encoder`: what encodes the requests of a plan, with its tokens and its plugin.
- `stopping`: why a run stopped, in one word.

A run's way to the target:

- `transport`: HTTP over a bounded pool of connections, and what can go wrong there, by name.
- `counting`: where each request went, how long it took, how things stand, each second.
- `selection`: the part of the recording that is replayed. `stock`: reads it ahead of need, as the plan wants it.
- `prober`: sends some requests twice, and to a reference, to compare the answers.
- `safety`: what real users get, and how much is sent because of that.
- `lanes`: how what is due and allowed leaves, and where its outcome is counted.

What is written and told of it:

- `books`: what a run writes down: its folder, its journal, its report.
- `reporting`: from a run's folder to its report: by route, as a page, for CI, against another run.
- `announcing`: tells people of a run.
- `metrics`: Prometheus. `progress`: the terminal.

From the start to the end:

- `person`: who runs this, and where. `descriptors`: as many open files as the connections need.
- `interruption`: the signals that end it early.
- `preparing`: checks all that can be checked beforehand, for `--dry-run` too.
- `preflight`: proves on the live system, before any load, that what keeps it safe works.
- `engine`: puts them all together into one run.

May import `captures`, `loadtag` and `rules`, never `reamp`, `addons` or mitmproxy.
"""
