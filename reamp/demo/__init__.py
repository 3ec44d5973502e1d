"""The whole loop on a real app, every promise measured: `reamp demo`.

- `shop`: production. A database with realistic rows, and Datasette before it, with a plugin (`plugins/`) that keeps
  the app's own account of what reached it.
- `users`: the people. An uneven mix of pages at a rate that changes.
- `story`: what happens, in order; starts and ends every process.
- `promises`: pure. From what the app, the users and the disk say to a list of promise, measured, verdict.
- `picture`: real and extra rate over time against the ceiling, in the terminal.

Nothing is taken from what the sidecar or the replayer say of themselves where the app or the disk can be asked.
"""
