"""From what a run wrote down to what people and CI read of it.

- `findings`: what came back by route, beside what the recording tells of the same requests.
- `recovery`: the same of a run that was killed before it could write its report.
"""
