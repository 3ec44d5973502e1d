"""From what a run wrote down to what people and CI read of it.

- `findings`: what came back by route, beside what the recording tells of the same requests.
- `histograms`, `course`: how it went over time, for charts.
- `figures`: times, shares and changes as people read them. `page`: all of it as one file to look at.
- `offline`: pages that need no network and let nothing in.
- `junit`: for CI. `schema`: what report.json holds. `writing`: puts files onto the disk.
- `versus`: two runs, route by route.
- `recovery`: the same of a run that was killed before it could write its report.
"""
