"""`python -m reamp`."""

from reamp.cli import main

main()
