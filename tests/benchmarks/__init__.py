"""Benchmarks: reamp side by side with the tools that people use today. Run ``python -m tests.benchmarks --help``.

- One benchmark each, whose tables go into `docs/benchmarks.md`: `replayer`, `pacing`, `replay_memory`; `sidecar`
  (payloads by connections), `latency`, `capture_share`, `memory`; `addons` (each by itself); `capture_size`; `chain`
  (a replay through four services, counted); `egress` (a call through it); `dark` (what copies cost
  users, with `darkservice`); `scripts` (whether other tools send an incident as it was);
  `drill_truth` (what the verdict of a drill is worth); `drill` (shops that go down,
  and what a drill says of their fixes).
- What the sidecar's share: `contenders` (each way of running it, and what it is compared with), `payloads`, `load`
  (wrk before one of them), `arrivals` (requests by the clock, a process of its own).
- What pacing rests on: `senders` (each tool, and how it is made to keep a rate), `stamped` (a target whose requests
  the kernel times), `waking` (how late the machine wakes up whoever sleeps).
- `measuring`: processes pinned to a core, CPU time of a process tree, requests as the target counts them.
- `target`: nginx, as the target and as a reverse proxy. `traffic`: requests as browsers and their scripts send them.
- `peers`: the tools compared with, where they come from, which are missing. `tables`: medians and Markdown.

Three rules make the figures worth something on a small, noisy machine. What is compared runs *interleaved*, in rounds,
and the median of the rounds counts. CPU time per request stands beside each rate, for a neighbour can steal a core but
hardly the CPU time of a request. And all are measured from outside, by the same clock, kernel counters and target.
Load goes to loopback only.
"""
