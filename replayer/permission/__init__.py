"""What may be sent at all: what sidecars grant, and whether they are still heard.

    a sidecar's grant stream -> credits -> ceiling: earned, fresh, and no lever pulled -> one request for each credit

- `ceiling`: credit that sidecars granted; the only way out. Pure.
- `vigil`: the watch over the live signal, and when to give up. Pure.
- `credits`: a subscription to each sidecar's grant stream.
- `streaming`: how the lines of a sidecar's stream are read, and how often it is asked for anew.

Imports nothing else of the replayer.
"""
