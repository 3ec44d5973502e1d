"""One module for each subcommand: flags in, a room's own function called, an exit code out."""
