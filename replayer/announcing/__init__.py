"""Telling people of a run, through Apprise: Slack, e-mail, webhooks and what else it knows.

- `wording`: which of a run's decisions people are told, and in which words. Pure.
- `pace`: what repeats itself is told once a minute at most, and never lost for good. Pure.
- `receivers`: whom to tell, from the plan, the environment or a file; their URLs hold secrets.
- `herald`: the run's end of it: hands words over and hears what became of them, and never waits.
- `courier`: a process of its own that sends. Only there is Apprise loaded.

A receiver that is slow or gone can't hold up the run, for another process waits for it; and that a run was killed
without a word is told by that process, which outlives it by some seconds.
"""
