"""Dark traffic: copies of real requests, sent to a service that users do not see.

A worker only hands over, after the real answer was given; an aide sends:

    worker                                      aide
    handover (add-on) -- socket, never waits --> sender -- HTTP --> the dark service
        `choosing`: which requests                  `bounds`: how many at a time, how many a second, when to rest
        `copying`: one message each                 `copying`: what goes out, marked
        `accounts` <------- shared memory -------> `accounts`, `comparison` with the real answer

- `choosing`, `bounds`, `comparison`, `copying` and `mark` (the header that tells a copy) are decisions, without clock
  and socket.
- `accounts`: where every request went, in memory that outlives whoever counts. Also where the lever of the dark copies
  is seen.
- `settings`: what the aide has to know.
- `handover` is the add-on, the only module here that imports mitmproxy. `sender` is the aide's process.
- `annex` is the supervisor's side: it opens what both ends share, and tells how they are doing.

The socket is the only queue, its buffer the only memory: an aide that has no room does not read, the socket gets full,
and workers shed. So a dark service that is slow, hangs or is gone, and an aide that is stopped or dead, cost a worker
one call that says "full".
"""
