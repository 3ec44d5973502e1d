"""How records that load made are known again: by the names of made-up people, and by a stamp.

For load that signs up, orders or writes: ``synthetic_email("shop-1", 7)`` is an address that nobody can have, and says
which run made it up. `recognise` reads it again, in whatever case it comes back from a database.

The domain is reserved for examples (RFC 2606): nobody can register it, mail to it goes nowhere, and validators take
it. A user name is no such proof: anybody could choose one that looks like it. So refuse names that begin with `PREFIX`
to real users; and before you delete, go by the `stamp` that your own server wrote down as the row was made:
`loadtag.sqlalchemy` and `loadtag.django` do both.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from loadtag.context import Dark, Served, current

TYPE_CHECKING = False  # see `loadtag`
if TYPE_CHECKING:
    from collections.abc import Mapping

STAMP_LENGTH = 80
"""No stamp is longer."""

EVERY_RUN = "*"
"""Stands for all runs where rows of load are counted or deleted."""

PREFIX = "loadtest-"
"""What all names begin with."""

DOMAIN = "loadtest.example.com"
"""Where all addresses are, unless the app has a domain of its own for them."""

MAX_LENGTH = 64
"""No name is longer (RFC 5321, 4.5.3.1.1: what stands before the @)."""

_LONGEST_RUN = 34
_LARGEST = 10**20 - 1  # so that 9 + 34 + 1 + 20 = 64
_PLAIN = re.compile(rf"[a-z0-9_-]{{1,{_LONGEST_RUN}}}")
_RECORD = re.compile(
    rf"{PREFIX}(?P<run>[a-z0-9_-]{{1,{_LONGEST_RUN}}}|[a-z0-9_-]{{1,23}}\.[0-9a-f]{{10}})-(?P<n>0|[1-9][0-9]{{0,19}})"
    r"(?:@(?P<domain>[^@\s]+))?",
    re.IGNORECASE | re.ASCII,
)


class StillNeeded(Exception):  # noqa: N818 - says what the matter is
    """Rows of load were not deleted, since rows that are not of that load refer to them, which would suffer."""

    def __init__(self, references: Mapping[str, int]) -> None:
        """Tell how many rows refer to them, by table and column."""
        self.references = dict(references)
        told = ", ".join(f"{count} by {where}" for where, count in self.references.items())
        super().__init__(
            f"nothing was deleted: rows of load are referred to by rows that are not of it ({told}). "
            "Change or delete these first; tables without a stamp count as real"
        )


def stamp() -> str | None:
    """Return what rows made now have to bear: the run's id, ``dark:<name>`` for a dark copy, or None: they are real."""
    served = current()
    if isinstance(served, Served):
        return served.tag.run_id
    return f"dark:{served.name}" if isinstance(served, Dark) else None


def of_load(run: object) -> str | None:
    """Check whose rows are meant: those with the stamp `run`, or with any (then None is returned) for `EVERY_RUN`.

    Raises ValueError for what is no stamp: above all for None and nothing, which real rows bear.
    """
    if run == EVERY_RUN:
        return None
    if not isinstance(run, str) or not re.fullmatch(r"(dark:)?[A-Za-z0-9._-]{1,64}", run):
        raise ValueError(f"{run!r} is neither a run id nor {EVERY_RUN!r}, which stands for all runs")
    return run


class Recognised(NamedTuple):
    """What the name of a made-up person says."""

    run: str
    """The run that made it up, as `run_name` writes it."""
    n: int
    """Which of the run's people it is."""


def synthetic_username(run: str, n: int) -> str:
    """Make the user name of the `n`-th person of a run: at most 64 of the characters ``a-z 0-9 _ - .``.

    The same run and number make the same name. Raises ValueError for a run that is no run id (1 to 64 of the characters
    ``A-Z a-z 0-9 _ -``) or for a number that is negative or has more than 20 digits.
    """
    if not 0 <= n <= _LARGEST:
        raise ValueError(f"the number {n} of a made-up person has to be from 0 to {_LARGEST}")
    return f"{PREFIX}{run_name(run)}-{n:d}"


def synthetic_email(run: str, n: int, domain: str = DOMAIN) -> str:
    """Make the address of the `n`-th person of a run, as `synthetic_username` makes the name.

    `domain` is for those who want the mails: one of your own that nothing else uses.
    """
    return f"{synthetic_username(run, n)}@{domain}"


def run_name(run: str) -> str:
    """Write a run's id as names have it: most ids as they are.

    Those that are too long for an address, or have capitals (which databases may not keep), are cut and end in a hash
    of the whole.
    """
    if not re.fullmatch("[A-Za-z0-9_-]{1,64}", run):
        raise ValueError(f"{run!r} is no run id: 1 to 64 of the characters A-Z a-z 0-9 _ -")
    if _PLAIN.fullmatch(run):
        return run
    import hashlib  # noqa: PLC0415 - it loads OpenSSL, and most ids need it not

    return f"{run.lower()[:23]}.{hashlib.sha256(run.encode('ascii')).hexdigest()[:10]}"


def recognise(text: str | None, domain: str = DOMAIN) -> Recognised | None:
    """Tell which made-up person a user name or an address belongs to; None if it is none of them.

    Whole names only, so use it on a field and not on prose. Never raises.
    """
    if not isinstance(text, str) or len(text) > 320:
        return None
    match = _RECORD.fullmatch(text.strip())
    if match is None or (match["domain"] is not None and match["domain"].lower() != domain.lower()):
        return None
    return Recognised(match["run"].lower(), int(match["n"]))


def is_synthetic(text: str | None, run: str | None = None, domain: str = DOMAIN) -> bool:
    """Tell whether a user name or an address belongs to a made-up person; with `run`, to one of that run."""
    found = recognise(text, domain)
    return found is not None and (run is None or found.run == run_name(run))


def like(run: str | None = None, escape: str = "\\") -> str:
    r"""Write a pattern for SQL's LIKE that finds such records: ``WHERE email LIKE 'loadtest-%' ESCAPE '\'``.

    It finds all of them (of one run, with `run`) and may find more: let `recognise` have the last word.
    """
    name = "" if run is None else f"{run_name(run)}-"
    return PREFIX + "".join(escape + letter if letter in {"%", "_", escape} else letter for letter in name) + "%"
