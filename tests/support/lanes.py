"""The two ways through a sidecar."""

from typing import Literal

Lane = Literal["fast", "full"]

LANES: tuple[Lane, ...] = ("fast", "full")


def flags(lane: Lane) -> list[str]:
    """Flags of `reamp sidecar` that send everything through `lane` (the fast one hands over what it does not take)."""
    return ["--no-fast-lane"] if lane == "full" else []
