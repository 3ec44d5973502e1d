"""What ``--only`` and ``--except`` leave of a recording, wherever they are taken."""

from collections.abc import Callable

from captures.records import Record
from rules.exits import UserError


def chosen(only: str | None, but: str | None) -> Callable[[Record], bool] | None:
    """Make the predicate of ``--only`` and ``--except``; None: all. Raises UserError for what is no filter."""
    if only is None and but is None:
        return None
    from addons.filtering import matcher  # brings mitmproxy, which takes its time

    def made(option: str, expression: str) -> Callable[[Record], bool]:
        try:
            return matcher(expression)
        except UserError as error:
            raise UserError(f"{option}: {error}") from None

    if but is None:
        return made("--only", only or "")
    unwanted = made("--except", but)
    if only is None:
        return lambda record: not unwanted(record)
    wanted = made("--only", only)
    return lambda record: wanted(record) and not unwanted(record)
