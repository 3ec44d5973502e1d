"""How a worker does as it is told."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from addons.processes import worker
from addons.processes.doors import Doors
from addons.processes.ear import Ear
from addons.processes.orders import Assignment, Order

if TYPE_CHECKING:
    from addons.chain import Chain
    from addons.embedded.sidecar import Sidecar


class _Full(Doors):
    async def attend(self, posts: object) -> None:
        raise OSError("too many open files")


async def test_an_order_that_fails_does_not_keep_it_from_the_next_one(tmp_path: Path) -> None:
    holding = tmp_path / "lock"
    holding.write_text("another one")
    retired = 0

    def retire() -> None:
        nonlocal retired
        retired += 1

    ear = Ear(asyncio.StreamReader())
    ear.stdin.feed_data(Order(do="attend", at=[0]).line() + b"nonsense\n" + Order(do="retire").line())
    ear.stdin.feed_eof()
    guard = SimpleNamespace(orphaned=False)
    async with asyncio.timeout(10):
        await worker._obey(
            ear,
            cast("Sidecar", SimpleNamespace(retire=retire)),
            cast("Chain", SimpleNamespace(guard=guard)),
            _Full([], 0),
            Assignment(post=0, posts=[], books=0, row=0, options={}, holding=str(holding), in_charge="this one"),
        )
    assert retired == 2  # as ordered, and as another one is in charge
    assert guard.orphaned
