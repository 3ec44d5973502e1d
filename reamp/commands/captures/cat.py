"""`reamp captures cat`: all records, a line each."""

import sys
from json import JSONEncoder

from captures.exchange.jsonlines import as_object
from captures.rendering import as_line
from reamp.commands.captures.shared import (
    DEFAULT,
    AsJson,
    Except,
    From,
    Identity,
    Only,
    To,
    Where,
    choose,
    finish,
    open_capture,
)


def cat(
    folder: Where = DEFAULT,
    as_json: AsJson = False,
    from_: From = None,
    to: To = None,
    only: Only = None,
    but: Except = None,
    identity: Identity = None,
) -> None:
    """Print the records, a line each: for people, or with --json one JSON object a line, with all that a record holds.

    Examples:

        reamp captures cat ./recordings --from -5m

        reamp captures cat ./recordings --json --only '~c 500' | jq -r .path
    """
    capture = open_capture(folder, identity)
    choice = choose(capture, from_, to, only, but)
    encode = JSONEncoder(separators=(",", ":")).encode
    write = sys.stdout.write
    # A bar and lines on one terminal would write over each other.
    for record in choice.records(quiet=sys.stdout.isatty()):
        write((encode(as_object(record)) if as_json else as_line(record)) + "\n")
    sys.stdout.flush()
    finish(capture)
