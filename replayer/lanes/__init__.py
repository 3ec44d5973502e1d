"""Lanes: how a run's requests leave, once it is known which are due and what may be sent.

A run has one lane. It takes due requests from the run's supply, decides about each (in time? a connection? credit?),
sends it, and counts what became of it.

    supply (what, when) -> lane: pacing -> connection -> credit -> send -> outcome -> ledger

- `lane`: what a run asks of a lane, and a lane of its run. It counts in a ledger (`replayer.counting.ledger`).
- `choice`: which lane a plan gets, and why.
- `native`: plain HTTP/1.1 by a small C library, in a thread that never waits for Python; `build` makes the library.
- `bulk`: requests made of whole blocks of the recording, where each record is sent once in a round, at its own time;
  `loading` hands what was made to the native sender.
- `fleet`: several processes, each a `worker` with a native lane and its part of the requests, spoken to by `channel`.
  `dealing`: who of them gets which requests, and whose credit.
- `python`: on the event loop, over `replayer.transport`. Can do everything.
"""
