"""A mitmproxy master of our own, with the proxy core and what is given to it, nothing else.

- `master`: it, from its start to its end; the egress runs in one, too.
- `sidecar`: a worker's, with the chain of add-ons and both lanes.
- `starting` and `farewell`: add-ons that see it through its start and its end.
"""
