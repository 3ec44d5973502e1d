"""What came back, beside what came back for the recorded requests: by route, and whether a change is more than noise.

- `routes`: which route a request belongs to, what came back on each, and what the recording tells of it.
- `comparison`: is a change of latency or failures more than noise?
- `differences`: what differs between answers to the same request, beyond what differs by itself.

All pure, and imports nothing else of the replayer: what is to be compared later is asked of every record early on, by
the plan and by what encodes requests.
"""
