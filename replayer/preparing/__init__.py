"""Everything that can be checked before anything is sent, for ``--dry-run`` too.

- `prepare`: all of it, in order. What it gives is `prepared`: all that a run needs.
- `targets`: the lists of hosts that load may go to at all, pure; `lists`: reads them. `terms`: what the sidecars'
  owners allow of a plan, pure.
- `writable`: what a run writes down. `timetable`: when it may run, and starts.
- `key`: what signs its load tags.
- `recording`: what is replayed of it, and what the first records are like; `preview`: what becomes of those, pure.
- `sidecars`: they answer, and know the run's load tag.
- `length`: how long the run lasts. Pure.
- `describing`: what was found, and what would be sent, in words.
"""
