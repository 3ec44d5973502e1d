"""The same bytes through nginx and through both lanes of the sidecar, and what each makes of them.

- `corpus`: what clients may send. `answers`: what apps may answer.
- `origin`: the app, which keeps the bytes that reach it, and answers as it is told.
- `proxies`: nginx and the lanes, each before an origin of its own.
- `running`: plays a case to a proxy and sums up what became of it. `safety`: what must not become of it.
- `explained`: every difference there is, and why. `rendering` makes a page of it.
"""
