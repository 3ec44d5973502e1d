"""Preflight: proves on the live system, before any load, that what keeps it safe works. A handful of requests.

- `findings`: what a check finds, and the list of all findings. Pure.
- `verdicts`: what follows from what was seen, with the words for people; `taps`: the same at a tap. Pure.
- `survey`: what a recording holds, looked at for this. Pure.
- `scene`: the edge: canaries to the target, questions to the control ports.
- The checks, each a small function with a question: `paperwork` (recording, key, window: nothing is sent for them),
  `sidecars` (do they answer, what do they see), `canaries` (what becomes of a tagged request, and of one whose tag is
  not valid), `drill` (the lever, and after it the ceiling), `rules` (is there data for them?).
- `running`: all of them, in order; one that breaks has failed. `checklist`: for the terminal.
- `beforehand`: that of a run, in its folder, and the end of the run if it forbids it.
"""
