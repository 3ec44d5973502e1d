"""The control port: what operators, replayers and Prometheus see of a sidecar, and the lever's handle.

It knows the books and not the proxy, so that the supervisor serves it for all workers. Nothing here imports mitmproxy.

- `port`: its routes and streams.
- `visitors`: its connections; `certificate`: its TLS, which can be renewed under way.
- `access`: who may look at something, or change it. Pure. `attempts` counts wrong tokens.
- `granting`: credit shared out to replayers; `overrun`: who sends without any; `judging`: why a tag counts for nothing.
  Pure.
- `exposition`: the sums of the books for Prometheus.
- `statuspage`: what a browser is shown, made of `page/`.
"""
