"""What a run writes down can be written. Refused now, not once the run is over. Edge: looks at the folders."""

import os

from replayer.plan import Plan
from rules.exits import UserError


def can_be_written(plan: Plan) -> None:
    """Refuse now what could not be written once the run is over."""
    there = next(folder for folder in (plan.runs, *plan.runs.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise UserError(f"--runs {plan.runs}: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--runs {plan.runs}: nothing can be written to {there}")
    if plan.junit is None:
        return
    if plan.junit.is_dir():
        raise UserError(f"--junit {plan.junit} is a folder: name a file")
    if not plan.junit.parent.is_dir():
        raise UserError(f"--junit {plan.junit}: there is no folder {plan.junit.parent}")
    if not os.access(plan.junit.parent, os.W_OK | os.X_OK):
        raise UserError(f"--junit {plan.junit}: nothing can be written to {plan.junit.parent}")
