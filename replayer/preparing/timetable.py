"""When a plan may run, and when it starts. Edge: reads the file of holidays."""

from datetime import date, datetime, timedelta

from replayer.plan import Plan
from replayer.schedule.calendar import Calendar, Window
from replayer.schedule.holidays import MOST_BYTES, holidays
from rules.exits import Exit, UserError
from rules.files import read_small
from rules.units import UnitError


def calendar_of(plan: Plan, now: datetime) -> Calendar:
    """Put together when a plan may run. Reads its file of holidays. Raises UserError."""
    days: frozenset[date] = frozenset()
    if plan.holidays is not None:
        try:
            too_large = f"it is larger than {MOST_BYTES >> 20} MiB: is it the file?"
            content = read_small(plan.holidays, MOST_BYTES, too_large)
            days = holidays(content.decode(), now.date())
        except OSError as error:
            raise UserError(f"--holidays {plan.holidays}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UserError(f"--holidays {plan.holidays}: it is not text in UTF-8") from None
        except UnitError as error:
            raise UserError(f"--holidays {plan.holidays}: {error}") from None
    return Calendar(map(Window.parse, plan.window), map(Window.parse, plan.not_window), days)


def starts(plan: Plan, now: datetime) -> datetime:
    """Tell when a run would start that is begun now."""
    return now + timedelta(seconds=plan.announce_before or 0)


def is_open(plan: Plan, calendar: Calendar, start: datetime) -> None:
    """Refuse a run outside of its windows. A dry run only tells it: it sends nothing at any time."""
    if not plan.dry_run and (why := calendar.why_not(start)):
        then = "" if plan.announce_before is None else f"the start would be {plan.announce_before} from now, and then "
        raise UserError(f"nothing was sent: {then}{why}; {calendar.next_opening(start)}", Exit.OUTSIDE_WINDOW)
