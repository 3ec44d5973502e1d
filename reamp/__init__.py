"""The front door: the command line and the configuration.

- `__main__`: where the command begins, and takes Ctrl-C from the first moment on.
- `cli`: the `reamp` command; one module of `commands` for each subcommand.
- `helping`: what ``--help`` shows of options.
- `settings`: `reamp.yaml`, environment and flags, in rising order, into one validated model.
- `demo`: the whole loop on a real app, each promise measured.

This room starts the others (`addons`, `replayer`, `captures`) and none of them imports it.
"""
