"""The add-ons in the order in which a request meets them."""

from dataclasses import dataclass

from addons.capture import Capture
from addons.control import Control
from addons.guard import Guard
from addons.meter import Meter
from addons.tag import Tag


@dataclass(frozen=True, slots=True)
class Chain:
    """One sidecar's add-ons."""

    tag: Tag
    meter: Meter
    guard: Guard
    capture: Capture
    control: Control

    def addons(self) -> list[Tag | Meter | Guard | Capture | Control]:
        """List them in order: whatever is classified is counted, then let through or refused, then recorded."""
        return [self.tag, self.meter, self.guard, self.capture, self.control]


def chain() -> Chain:
    """Put one sidecar's add-ons together."""
    tag, meter, capture = Tag(), Meter(), Capture()
    guard = Guard(meter)
    return Chain(tag, meter, guard, capture, Control(tag, meter, guard, capture))
