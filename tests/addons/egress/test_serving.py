"""What the egress's process is put together from, and that one in the place of another does without files that went."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from addons.egress.naming import COUNTED
from addons.egress.serving import Settings, authorities, chain
from addons.processes.orders import Errand
from addons.processes.tallies import Tallies
from addons.traces import Traces
from rules.exits import UserError


@pytest.fixture
def errand() -> Iterator[Errand]:
    traces, tallies = Traces.create(sets=1, cells=64), Tallies.create(COUNTED)
    yield Errand(settings={}, shares={"traces": traces.fileno(), "egress-tallies": tallies.fileno()})
    traces.close()
    tallies.close()


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    def make(**changes: object) -> Settings:
        return Settings.model_validate({"folder": str(tmp_path / "state" / "egress"), **changes})

    return make


def test_a_file_of_a_rule_that_has_gone_is_told_at_a_start_and_blocks_in_the_place_of_another(
    settings: Callable[..., Settings], errand: Errand
) -> None:
    rule = {"match": "a.example", "action": "stub", "body_file": "/nowhere/answer.json"}
    policy = json.dumps({"third_parties": [rule], "default_third_party": "pass"})
    with pytest.raises(UserError, match="third_parties"):
        chain(settings(policy=policy), errand)
    _, addons, passage = chain(settings(policy=policy, replaces=True), errand)
    assert [type(one).__name__ for one in addons] == ["Calls", "ThirdParties", "Tunnels", "Passage"]
    assert addons[-1] is passage


def test_authorities_stay_as_they_were_if_theirs_has_gone(settings: Callable[..., Settings], tmp_path: Path) -> None:
    own = tmp_path / "ca.pem"
    with pytest.raises(UserError, match="can't be kept in"):
        authorities(settings(trust=str(own)))
    assert authorities(settings(trust=str(own), replaces=True)).keys() == {"confdir"}
    own.write_text("-----BEGIN CERTIFICATE-----\nours\n")
    first = authorities(settings(trust=str(own)))
    in_the_way = Path(first["confdir"]) / f"trusted.{os.getpid()}.new"
    in_the_way.mkdir()
    assert authorities(settings(trust=str(own))) == first, "a disk that takes nothing keeps no call waiting"
    in_the_way.rmdir()
    own.unlink()
    assert authorities(settings(trust=str(own), replaces=True)) == first
    trusted = Path(first["ssl_verify_upstream_trusted_ca"]).read_text()
    assert trusted.endswith("-----BEGIN CERTIFICATE-----\nours\n")
    assert trusted.count("BEGIN CERTIFICATE") > 50, "beside the public ones"
    assert [path.name for path in Path(first["confdir"]).iterdir()] == ["trusted.pem"]
    assert Path(first["confdir"]).stat().st_mode & 0o077 == 0
