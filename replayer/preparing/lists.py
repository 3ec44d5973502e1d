"""The lists of allowed targets that bind a plan. Edge: reads them. What they mean is for `targets`."""

from pathlib import Path

from replayer.plan import Plan
from replayer.preparing.targets import MAX_FILE, Allowed, parse
from rules.exits import UserError
from rules.files import read_small

MACHINE = Path("/etc/reamp/targets")
"""List of allowed targets that binds every run on this machine, whatever its plan says."""


def target_lists(plan: Plan) -> tuple[Allowed, ...]:
    """Read the lists of allowed targets that bind a plan: its own, and the machine's if there is one.

    Raises UserError if one can't be read: what it allows is not known then.
    """
    named = [plan.allowed_targets] if plan.allowed_targets is not None else []
    found = []
    for path in [*named, MACHINE]:
        try:
            text = read_small(path, MAX_FILE, "too large for a list of targets")
            found.append(parse(text.decode(), str(path)))
        except OSError as error:
            if path is MACHINE and isinstance(error, FileNotFoundError):
                continue
            raise UserError(f"the list of allowed targets {path}: {error.strerror}") from None
        except ValueError as error:
            raise UserError(f"the list of allowed targets {path}: {error}") from None
    return tuple(found)
