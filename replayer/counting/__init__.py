"""What is counted while a run lasts: each request once, and each second.

    a lane -> ledger: accounts, latency, routes -> the terminal, the metrics, the books

- `accounts`: where every request went; nothing is missing and nothing counted twice.
- `latency`: how long requests took.
- `ledger`: where a lane counts both, and by route.
- `snapshot`: how things stand at a moment.
- `series`: what is written down of each second, and of each route.
- `cores`: how busy this process's busiest thread is, the only edge here. `bottleneck`: was it the sender?
"""
