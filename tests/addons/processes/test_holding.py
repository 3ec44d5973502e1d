"""Who holds a port, and the sockets on it."""

import os
import socket
from pathlib import Path

import pytest

from addons.processes.holding import Holding, in_charge
from addons.processes.listening import bind, bind_one
from rules.exits import UserError
from rules.units import UnitError


def test_a_port_has_one_holder_at_a_time(tmp_path: Path) -> None:
    with Holding(tmp_path / "state", 80) as first:
        first.take_charge()
        with pytest.raises(UserError, match=f"in use.*{os.getpid()}"), Holding(tmp_path / "state", 80):
            pass
        with Holding(tmp_path / "state", 81) as other:
            assert not other.orphans
    with Holding(tmp_path / "state", 80) as second:
        assert not second.orphans


def test_workers_that_were_left_behind_are_noticed_and_learn_who_takes_over(tmp_path: Path) -> None:
    with Holding(tmp_path, 80) as first:
        first.take_charge()
        worker = os.dup(first.kept[0])  # as if inherited
    try:
        with Holding(tmp_path, 80) as second:
            assert second.orphans
            assert in_charge(second.path) == ""  # nobody yet: they stay
            second.take_charge()
            assert in_charge(second.path) == second.name != first.name
    finally:
        os.close(worker)
    with Holding(tmp_path, 80) as third:
        assert not third.orphans


def test_a_folder_that_can_not_be_written_keeps_nobody_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with Holding(tmp_path / "file" / "state", 80) as holding:
        assert holding.kept == []
        holding.take_charge()
    assert "can't be locked" in caplog.text


def close(sets: list[list[socket.socket]]) -> None:
    for one in sets:
        for part in one:
            part.close()


def test_several_sockets_share_one_free_port() -> None:
    sets = bind("127.0.0.1:0", 3)
    assert len({one.getsockname() for (one,) in sets}) == 1
    close(sets)


def test_all_addresses_of_a_host_are_bound_to_one_port() -> None:
    sets = bind(":0", 2)
    assert len({part.getsockname()[1] for one in sets for part in one}) == 1
    close(sets)


def test_a_port_that_is_taken_is_told_even_if_its_holder_would_share_it() -> None:
    sets = bind("127.0.0.1:0", 1)
    sets[0][0].listen()
    address = f"127.0.0.1:{sets[0][0].getsockname()[1]}"
    with pytest.raises(UserError, match="in use"):
        bind(address, 1)
    with pytest.raises(UserError, match="in use"):
        bind_one(address)
    joined = bind(address, 1, shared=True)
    close([*sets, *joined])


@pytest.mark.parametrize("address", ["nowhere.invalid:80", "192.0.2.1:0"])
def test_an_address_that_is_not_here_is_told(address: str) -> None:
    with pytest.raises(UserError, match=address):
        bind(address, 1)


def test_what_is_no_address_is_told() -> None:
    with pytest.raises(UnitError):
        bind("80", 1)
