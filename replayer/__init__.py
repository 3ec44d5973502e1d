"""The replayer: plays a recording back, louder, and never past the ceiling.

Read in the order in which a request comes to be. Pure decisions, without clock, socket or file:

- `plan`: what was asked for, validated with the arithmetic shown; `terms`: what the sidecars' owners allow of it.
- `targets`: the lists of hosts that load may go to at all.
- `addresses`: where to connect to instead of where a name leads.
- `fields`: what becomes of a header field, by its name; `rewriting`: what the user wants changed of fields and paths.
- `renewal`: idempotency keys, new for every copy of a request.
- `stages`: how loud a run is over time.
- `calendar`: when it may run: windows of the week in the time of a place; `holidays`: days on which it may not.
- `writes`: the routes of requests that change things; only those may be sent.
- `encoding`: a record becomes the bytes to send, or a reason why it must not be sent.
- `plugins`: functions of the user's own that change requests; `hooking`: an encoder that asks one.
- `intensity`: where arrivals get denser or sparser, and where that is only chance.
- `amplification`: times a factor, keeping the time axis and the bursts.
- `sessions`: the same for whole sessions; `identity`: whose pseudonym each copy of one bears.
- `demand`: which request is due when: the recording's own times, or an echo of live traffic.
- `pacing`: a due request is waited for, sent or shed. There is no catching up.
- `ceiling`: credit that sidecars granted; the only way out.
- `tagging`: the signed mark that every request bears, renewed before it expires.
- `vigil`: the watch over the live signal, and when to give up.
- `safety`: what real users get, and how much is sent because of that. A folder with a map of its own.
- `routes`: which route a request belongs to, and what came back on each. `comparison`: is a change more than noise?
- `differences`: what differs between answers to the same request, beyond what differs by itself.
- `accounts`, `latency`, `snapshot`, `report`: where each request went, how long it took, how things stand, the verdict.
- `journal`: what stands in a run's journal.
- `series`: what is written down of each second, and of each route. `bottleneck`: was it the sender?

Edges:

- `selection`: the part of the recording that is replayed.
- `stock`: reads the recording ahead of need, as the plan wants it. `alarm`: a timer finer than the event loop's.
- `transport`: HTTP over a bounded pool of connections, and what can go wrong there, by name.
- `person`: who runs this, and where. `waiting`: for a start that was announced ahead.
- `descriptors`: as many open files as the connections need. `credits`: the sidecars' grant streams.
- `streaming`: how the lines of a sidecar's stream are read.
- `chronicle`: writes the books down while the run lasts. `cores`: how busy this process's busiest thread is.
- `prober`: sends some requests twice, and to a reference, to compare the answers.
- `announcing`: tells people of a run. A folder with a map of its own.
- `reporting`: from a run's folder to its report: by route, as a page, for CI, against another run.
- `folder`: plan, journal, histograms and report on the disk. `metrics`: Prometheus. `progress`: the terminal.
- `lanes`: how what is due and allowed leaves, and where its outcome is counted. A folder with a map of its own.
- `preflight`: proves on the live system, before any load, that what keeps it safe works. A folder with a map, too.
- `preparing`: checks all that can be checked beforehand, for `--dry-run` too. A folder with a map of its own.
- `preview`: says what becomes of the first records. `engine`: puts them all together into one run.

May import `captures`, `loadtag` and `rules`, never `reamp`, `addons` or mitmproxy.
"""
