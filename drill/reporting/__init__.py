"""From a verdict to what people and CI read of it.

- `words`: figures, moments and outcomes as people read them. Pure.
- `page`: all of it as one file to look at, made to be shown to a manager and to an engineer. Pure.
- `terminal`: the same in short, on the command line.
- `junit`: for CI. `schema`: what verdict.json holds.
- `writing`: puts the files into a drill's folder. Edge.

Nothing here judges anything: whatever is said stands in the verdict.
"""
