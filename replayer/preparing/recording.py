"""What of the recording is replayed, and what its first records are like. Edge: opens it."""

import time
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from statistics import median

from captures.errors import CaptureError
from captures.keyring import load_identities
from captures.moments import iso
from captures.reader import Capture
from replayer.counting.accounts import Accounts
from replayer.plan import Plan
from replayer.preparing.preview import Preview
from replayer.requests.encoding import Encoder
from replayer.requests.hooking import PluginEncoder
from replayer.selection import Chosen, Selection, span
from replayer.stock import usable
from rules.exits import UserError

SAMPLE = 1000
"""Records to look at beforehand."""


def recording_of(
    plan: Plan, encoder: Encoder, chosen: Chosen | None
) -> tuple[Selection, float, str, list[tuple[str, str]]]:
    """Open it, and look at its first records.

    Gives what is replayed, which share of that can be sent, what was skipped, and what else was seen. Raises UserError.
    """
    try:
        whole = Capture(plan.recording, load_identities(plan.identity))
        capture = Selection(whole, span(whole, plan.from_, plan.until), chosen)
        found = Accounts()
        records = usable(capture.sifted(), encoder, found)
        # Most recordings show at once that they can be used; only one that can't is read to its end.
        first = next(filter(None, records), None)
        if first is None:
            raise UserError(_nothing(plan, whole, found, encoder))
        capture = Selection(whole, capture.span, chosen, first[0])
        encoder.forget()
        preview = Preview(plan, encoder)
        with _timed(encoder) as took:
            for record in islice(capture.sifted(), SAMPLE):
                preview.look(record)
    except CaptureError as error:
        raise UserError(str(error)) from None
    skipped, lines = preview.skipped, [*preview.lines(), *_cost(plan, took)]
    encoder.forget()
    return capture, preview.share, skipped, lines


def _timed(encoder: Encoder) -> AbstractContextManager[list[float]]:
    """Give a list to which each call of the plugin adds its seconds; it stays empty if there is none."""
    return encoder.hook.timed(time.perf_counter) if isinstance(encoder, PluginEncoder) else nullcontext([])


def _cost(plan: Plan, took: list[float]) -> list[tuple[str, str]]:
    """Say what the plugin costs. It is called where the schedule is kept, so it bounds what can be sent."""
    if not took:
        return []
    typical = max(median(took), 1e-7)  # what is less is the clock's own
    most = float(f"{1 / typical:.2g}")
    cost = f"{typical * 1e6:.3g} µs" if typical < 1e-4 else f"{typical * 1e3:.3g} ms"
    each = f"{plan.plugin} takes {cost} for a record (the median of {len(took)})"
    return [("plugin", f"{each}: by itself it allows {most:,.0f} in a second")]


def _nothing(plan: Plan, whole: Capture, found: Accounts, encoder: Encoder) -> str:
    """Say why there is nothing to replay."""
    reasons = [", ".join(f"{count} {reason}" for reason, count in found.skipped.items())] if found.skipped else []
    asked = plan.from_ is not None or plan.until is not None
    if not found.read and asked and whole.first_ns is not None and whole.last_ns is not None:
        reasons.append(
            f"no record lies between --from and --until; it holds {whole.count} from {iso(whole.first_ns)} "
            f"to {iso(whole.last_ns)}"
        )
    return f"{plan.recording} holds nothing that can be replayed: " + (
        "; ".join([*reasons, *encoder.reasons.values(), *whole.damage[:5]]) or "it is empty"
    )
