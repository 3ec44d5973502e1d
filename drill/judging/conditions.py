"""What a verdict depends on, in sentences: whoever defends it is asked for these. Pure."""

import math
from collections.abc import Sequence

from drill.judging.down import down
from drill.judging.evidence import BLOCKS, Evidence, Played
from drill.judging.rows import SMALL, SMALL_TIME, Line
from drill.judging.verdict import CONFIDENCE, Condition, Criterion
from replayer.reporting.figures import share as share_text
from rules.units import MILLION, Duration

MOST_NOTES = 8
"""Of the source, that are told again."""


def conditions(
    evidence: Evidence, played: Sequence[Played], lines: Sequence[Line], criteria: Sequence[Criterion], baseline: str
) -> list[Condition]:
    """Say what a verdict depends on."""
    record = evidence.record
    found = [Condition(name="target", text=f"All was played onto {record.to}, and is true of it alone.")]
    found += _clone(evidence)
    if any(not each.given for each in criteria):
        told = " and ".join(each.text for each in criteria)
        found.append(
            Condition(
                name="criteria",
                text=f"Nobody said what has to hold, so {told} was asked for, of all requests together and of every "
                "route. Say what your users need with --slo.",
            )
        )
    found += _source(evidence)
    small = [line for line in lines if line.scope == "small"]
    if len(small) > 1:
        found.append(
            Condition(
                name="small routes",
                text=f"{len(small)} routes with less than {SMALL:.0%} of the requests each (and less than "
                f"{SMALL_TIME:.0%} of the time that answers took) are judged together.",
            )
        )
    left = sorted({" ".join(name) for each in played for name in each.left_out})
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        found.append(
            Condition(name="left out", text=f"Not sent, because they change things: {', '.join(left[:3])}{more}.")
        )
    if not baseline:
        found.append(
            Condition(
                name="baseline",
                text="That the clone breaks without the fix was not shown. A drill of it before the fix, named with "
                "--against, shows whether this pattern is what brought the site down.",
            )
        )
    if record.amplify != MILLION:
        found.append(
            Condition(
                name="factor", text=f"{record.amplify} of the incident's traffic was asked for, at its own times."
            )
        )
    if any(each.calm is False for each in evidence.played):
        found.append(
            Condition(
                name="rest",
                text="The clone did not come to rest after every step, so some began on what the one before had left.",
            )
        )
    if any(down(each) is not None for each in evidence.played):
        found.append(
            Condition(
                name="down",
                text="From here, the end of a tunnel or of a proxy that leads to the clone looks like the clone's own. "
                "If there is one, see that it was not that which went down.",
            )
        )
    if any(each.kind == "sweep" for each in evidence.played):
        found.append(
            Condition(
                name="headroom",
                text="Other factors were played once each, and not for long: one holds if all requests together do and "
                "no route shows that it breaks.",
            )
        )
    return [*found, *_statistics(played)]


def _clone(evidence: Evidence) -> list[Condition]:
    if evidence.fairness is None:
        return []
    found = [Condition(name="clone", text=evidence.fairness.sentence)]
    found += [
        Condition(name="clone", text=f"{each.what.rstrip('.')}. {each.means}") for each in evidence.fairness.doubts[:5]
    ]
    return found


def _source(evidence: Evidence) -> list[Condition]:
    story = evidence.story
    found = []
    if story.times == "drawn":
        grain = "" if story.grain is None else f" within each {Duration(story.grain)}, whose counts are those of then"
        found.append(
            Condition(
                name="arrivals",
                text=f"When each request came is not known: arrivals were drawn by chance{grain}. Bursts that were "
                "shorter are not in them.",
            )
        )
    if story.outcomes == "none":
        found.append(
            Condition(name="incident", text="What came back during the incident is not known: only what was asked.")
        )
    elif story.outcomes == "routes":
        found.append(
            Condition(name="incident", text="What came back during the incident is known by route only, not over time.")
        )
    if story.outside is not None:
        words = {
            "left-out": "They are not in this drill.",
            "example": f"They were drawn from {story.outside.by or 'an example'}.",
            "scaled": "The known routes were sent as much more often: others may cost more or less.",
        }[story.outside.filled]
        share = share_text(story.outside.share)
        found.append(
            Condition(name="outside", text=f"{share} of the incident's requests are of routes not told of. {words}")
        )
    # What was left out, drawn or filled, and what the source had already lost, as it was told when it was taken.
    return found + [Condition(name="source", text=f"{note.rstrip('.')}.") for note in story.notes[:MOST_NOTES]]


def _statistics(played: Sequence[Played]) -> list[Condition]:
    blocks = BLOCKS * len(played)
    lasted = sum(each.seconds for each in played)
    found = [
        Condition(
            name="statistics",
            text=f"Every interval has {CONFIDENCE:.0%} confidence: a studentised bootstrap over {blocks} intervals of "
            f"time in {len(played)} replay{'s' if len(played) != 1 else ''}, and never narrower than an exact binomial "
            "one.",
        )
    ]
    if lasted:
        # Seen in none of `lasted` seconds: with 95% confidence it comes less often than 3 times in so long.
        rare = Duration(max(1, math.floor(lasted / 3)))
        found.append(
            Condition(
                name="rare trouble",
                text=f"{Duration(round(lasted))} were played in all. What goes wrong less often than once in {rare} "
                "may not have shown in it (the rule of three).",
            )
        )
    return found
