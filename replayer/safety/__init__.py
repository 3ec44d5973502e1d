"""The safety loop: what real users get decides how much of what is wanted may be asked for.

    sources (what is measured) -> rules (rules.slo: fine, breached) -> gain (less, the same, more) -> the lane

- `gain`: which share of the demand is left: additive increase, multiplicative decrease, and a band in between. Pure.
- `rising`: by how much the demand rises while the load is to be held. Pure.
- `thinning`: which of the due requests make up that share. Pure.
- `sources`: what measures a rule: the newest reading, which whoever measures keeps fresh.
- `prometheus`, `plugin`: two such edges: a query that is asked for every few seconds, and a function of the user's own.
- `loop`: once a second, all rules: less load, a warning, or the end; each with its cause and figures. Pure.
- `hindsight`: what of it can be told of a run that was killed, from what it wrote meanwhile. Pure.
- `experience`: the sidecars' streams of what requests get there.
- `warden`: all of it at work in one run: follows, counts, asks the loop and does what it says.
"""
