"""What the supervisor holds for the egress: its process, through its real life."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from addons.egress.annex import Egress, EgressPlan
from addons.processes.holding import Holding
from rules.exits import UserError
from tests.support.processes import free_port


@pytest.fixture
def plan(tmp_path: Path) -> EgressPlan:
    options = {"reamp_public_key": [], "reamp_audience": "production", "reamp_revoked": ""}
    return EgressPlan(f"127.0.0.1:{free_port()}", tmp_path, age=60, judging=options)


@pytest.fixture
async def egress(plan: EgressPlan) -> AsyncIterator[Egress]:
    made = plan.open()
    yield made
    await made.aide.end()
    made.close()


def test_a_port_that_somebody_has_is_told_and_nothing_is_left_behind(plan: EgressPlan) -> None:
    port = int(plan.listen.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)), pytest.raises(UserError, match="can't be listened on"):
        plan.open()
    with Holding(plan.state, port), pytest.raises(UserError, match=f"port {port} is in use: a sidecar"):
        plan.open()
    plan.open().close()


async def test_what_it_is_told_again_goes_by_what_can_be_changed(
    egress: Egress, plan: EgressPlan, caplog: pytest.LogCaptureFixture
) -> None:
    await egress.aide.begin(plan.settings())
    state = egress.state()
    assert (state.listen, state.serves, state.restarts, state.hit_ratio) == (plan.listen, True, 0, None)
    with pytest.raises(UserError, match="certificates of the egress can't be kept"):
        await egress.aide.reload(replace(plan, trust=Path("/nowhere.pem")).settings())
    assert egress.state().pid == state.pid, "the one before goes on"
    assert not caplog.messages
    caplog.set_level(logging.WARNING)
    await egress.aide.reload(replace(plan, listen="127.0.0.1:1", age=61).settings())
    assert "can't be changed by a reload" in caplog.text
    assert egress.state().pid != state.pid
    reader, writer = await asyncio.open_connection("127.0.0.1", int(plan.listen.rpartition(":")[2]))
    writer.write(b"GET http://127.0.0.1:1/ HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b" 502 " in await asyncio.wait_for(reader.readline(), 20)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    deadline = time.monotonic() + 20
    while not egress.state().calls["unattributed"]["nothing"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
