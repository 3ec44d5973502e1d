"""`reamp captures slice`: a part of a capture as a capture."""

from captures.batch import BatchWriter
from captures.lineage import lineage, redaction
from reamp.commands.captures.shared import (
    DEFAULT,
    AsJson,
    EncryptTo,
    Except,
    From,
    Identity,
    Only,
    Output,
    To,
    Where,
    choose,
    complain,
    open_capture,
    recipients,
    tell_written,
    write_all,
    writing,
)


def cut(
    output: Output,
    folder: Where = DEFAULT,
    from_: From = None,
    to: To = None,
    only: Only = None,
    but: Except = None,
    as_json: AsJson = False,
    identity: Identity = None,
    encrypt_to: EncryptTo = None,
) -> None:
    """Write what was chosen of a capture as a new one. Blocks that lie outside the times are not read.

    Examples:

        reamp captures slice ./recordings --from -15m -o ./last-quarter

        reamp captures slice ./recordings --from 14:00 --to 14:30 --only '~m POST & ~u /api' -o ./posts
    """
    capture = open_capture(folder, identity)
    choice = choose(capture, from_, to, only, but)
    extra = lineage("slice", capture, choice.described())
    readers = recipients(encrypt_to, [capture])
    with writing(BatchWriter(output, extra=extra, redaction=redaction(capture), recipients=readers)) as out:
        unfit = write_all(choice.records(), out)
        if not out.records:
            complain(capture)
            raise choice.nothing()
    tell_written(output, capture, unfit, as_json=as_json)
