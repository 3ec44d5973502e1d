"""One module for each subcommand: flags in, a room's own function called, an exit code out.

`sharing` lets one take the options of another.
"""
