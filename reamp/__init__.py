"""The front door: the command line and the configuration.

- `__main__`: where the command begins, and takes Ctrl-C from the first moment on.
- `front`: what all commands have in common.
- `cli`: the `reamp` command; one module of `commands` for each subcommand, loaded when it is asked for.
- `helping`: what ``--help`` shows of options.
- `settings`: `reamp.yaml`, environment and flags, in rising order, into one validated model;
  `environment` is loaded when there is something in the environment.
- `demo`: the whole loop on a real app, each promise measured.

This room starts the others (`addons`, `replayer`, `captures`) and none of them imports it.
"""
