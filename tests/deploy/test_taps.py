"""deploy/: nginx, HAProxy, Envoy or Istio carry the traffic and copy it to a tap. The first two really do here."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import envoy.extensions.filters.http.router.v3.router_pb2
import envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2  # noqa: F401
import httpx
import pytest
import yaml
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from google.protobuf import json_format

from replayer.books.report import Report
from rules.exits import Exit
from tests.support.crowd import Crowd
from tests.support.processes import eventually, run
from tests.support.stack import Stack, stack
from tests.support.taps import DEPLOY, PROXIES


@pytest.fixture(scope="module", params=PROXIES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, str]]:
    """An app, a proxy before it, and a tap that is sent copies of half of the real requests."""
    with stack(tmp_path_factory.mktemp(request.param)) as made, PROXIES[request.param](made, "50%") as copier:
        with made.tap("50%", **{"max-extra": "25%", "lever-file": str(made.folder / "stop")}):
            yield made, copier.url


def counted(site: Stack) -> dict[str, int]:
    return {kind: sum(told.values()) for kind, told in site.state().requests.items()}


def client(url: str, address: str = "127.0.0.1") -> httpx.Client:
    return httpx.Client(base_url=url, transport=httpx.HTTPTransport(local_address=address), trust_env=False)


def test_the_app_answers_and_the_tap_gets_the_share_it_was_told(site: tuple[Stack, str]) -> None:
    made, url = site
    before = counted(made)
    with client(url) as users:
        assert all(users.get(f"/item/{number}").status_code == 200 for number in range(400))
    eventually(lambda: counted(made)["real"] - before["real"] >= 140)
    assert counted(made)["real"] - before["real"] <= 260  # six standard deviations


def test_a_copy_is_recorded_as_the_user_sent_it(site: tuple[Stack, str]) -> None:
    made, url = site
    body = b"b" * 12_000
    with client(url) as users:
        for _ in range(40):
            users.post("/cart?a=%2F", content=body, headers={"host": "shop.example", "x-mark": "1"})
    eventually(lambda: any(one.path == "/cart?a=%2F" for one in made.records()))
    record = next(one for one in made.records() if one.path == "/cart?a=%2F")
    assert (record.method, record.authority, record.body) == ("POST", "shop.example", body)
    assert (b"x-mark", b"1") in record.headers


def test_every_tagged_request_is_copied_and_reaches_the_app_with_its_tag(site: tuple[Stack, str]) -> None:
    made, url = site
    before = counted(made)
    with client(url) as replayer:
        for _ in range(12):
            assert replayer.get("/item/1", headers=made.tagged("run-tapped")).status_code == 200
    eventually(lambda: counted(made)["synthetic"] - before["synthetic"] == 12)
    assert sum(run_ == "run-tapped" for _, run_, *_ in made.seen_by_app()) == 12


def test_nobody_else_may_send_a_tag(site: tuple[Stack, str]) -> None:
    made, url = site
    before = counted(made)
    with client(url, "127.0.0.2") as stranger:
        for _ in range(20):
            stranger.get("/item/7777", headers=made.tagged("run-forged"))
            stranger.get("/item/7777", headers={"x-load-test": "run-forged"})
            stranger.get("/item/7777", headers=[("baggage", "a=b"), *made.tagged("run-forged")])
    seen = [run_ for _, run_, _, _, path in made.seen_by_app() if path == "/item/7777"]
    assert seen == ["-"] * 60
    assert counted(made)["synthetic"] == before["synthetic"]
    assert counted(made)["untrusted"] == before["untrusted"]


@pytest.mark.parametrize(
    "disguised",
    [
        ("baggage", "%6CoadTest=v1.a.b.c.d.e"),  # OpenTelemetry decodes keys
        ("baggage", "a=b,\tl%4fad%74est =x"),
        ("x_load_test", "run-forged"),  # for WSGI all these are one
        ("x-load_test", "run-forged"),
        ("X-Reamp-Dark", "dark"),
        ("x_reamp_dark", "dark"),
        ("x-reamp_dark", "dark"),
    ],
)
def test_nothing_that_an_app_may_take_for_a_tag_or_for_the_mark_of_a_dark_copy_gets_past(
    site: tuple[Stack, str], disguised: tuple[str, str]
) -> None:
    made, url = site
    before = counted(made)
    with client(url, "127.0.0.2") as stranger:
        arrived = stranger.get("/headers", headers=[("x-mark", "1"), disguised]).json()
        for _ in range(10):
            stranger.get("/headers", headers=[disguised])
    assert ["x-mark", "1"] in arrived
    names = {name.lower().replace("_", "-") for name, _ in arrived}
    assert not names & {"baggage", "x-load-test", "x-reamp-dark"}
    eventually(lambda: counted(made)["real"] > before["real"])
    assert counted(made)["untrusted"] == before["untrusted"]


@pytest.mark.parametrize(
    ("address", "baggage"), [("127.0.0.2", "word"), ("127.0.0.1", "word"), ("127.0.0.1", "a=loadtest")]
)
def test_no_real_request_is_copied_for_certain(site: tuple[Stack, str], address: str, baggage: str) -> None:
    """It would stand for others that were not there, and they would earn credit."""
    made, url = site
    before = counted(made)
    with client(url, address) as user:
        for _ in range(150):
            user.get("/item/1", headers={"baggage": baggage})
    eventually(lambda: sum(counted(made).values()) - sum(before.values()) >= 38)
    assert counted(made)["real"] - before["real"] <= 112  # six standard deviations


def test_while_the_lever_is_pulled_the_proxy_refuses_what_is_tagged(site: tuple[Stack, str]) -> None:
    made, url = site
    with client(url) as both:

        def withheld() -> str | None:
            answer = both.get("/item/3", headers=made.tagged())
            return answer.headers.get("reamp-withheld") if answer.status_code == 503 else None

        eventually(lambda: withheld() is None, every=0.1)
        (made.folder / "stop").touch()
        eventually(lambda: withheld() == "lever", every=0.1)
        assert both.get("/item/3").status_code == 200
        eventually(lambda: made.state().lever.engaged)
        (made.folder / "stop").unlink()
        eventually(lambda: run("resume", "--sidecar", made.control).returncode == 0)
        eventually(lambda: withheld() is None, every=0.1)


@pytest.mark.timeout(90)
def test_a_preflight_says_what_holds_and_what_can_not(site: tuple[Stack, str]) -> None:
    made, url = site
    with Crowd(url, 100) as crowd:
        eventually(lambda: crowd.answered > 60 and made.records())
        ended = run(
            *("preflight", str(made.captures), "--to", url, "--sidecar", made.control, "--amplify", "1.25x", "--json"),
            *("--key", str(made.folder / "load.key"), "--echo", "/headers", "--except", "~m POST"),
        )
    found = {one["check"]: one for one in json.loads(ended.stdout)["findings"]}
    assert {name: one["outcome"] for name, one in found.items() if one["outcome"] == "failed"} == {}
    assert found["canary"]["outcome"] == "ok"
    assert "+4 synthetic, +0 untrusted for 4 sent" in found["canary"]["evidence"]
    assert found["bad tags"]["outcome"] == "warned"
    assert found["ceiling"]["outcome"] == "skipped"
    # Only HAProxy asks where the lever stands; nginx looks for the file.
    assert found["lever"]["outcome"] == ("ok" if "haproxy" in made.folder.name else "warned")
    assert not made.state().lever.engaged


@pytest.mark.timeout(90)
def test_a_live_replay_goes_by_what_the_tap_grants(site: tuple[Stack, str]) -> None:
    made, url = site
    eventually(lambda: made.state().lever.engaged is False)
    made.app_log.write_text("")
    before = made.state().requests["synthetic"]
    with Crowd(url, 100) as crowd:
        eventually(lambda: crowd.answered > 60)
        ended = run(
            *("replay", str(made.captures), "--to", url, "--sidecar", made.control, "--amplify", "1.25x"),
            *("--key", str(made.folder / "load.key"), "--runs", str(made.folder / "runs"), "--duration", "2s"),
            "--no-preflight",
        )
        # A busy machine may hold the sender up: that is told, and is no matter of the tap.
        assert ended.returncode in (Exit.DONE, Exit.INVALID), ended.stdout + ended.stderr
        assert "a tap: it refuses nothing" in " ".join((ended.stdout + ended.stderr).split())
    assert crowd.failed == []
    (path,) = (made.folder / "runs").glob("*/report.json")
    report = Report.model_validate_json(path.read_text())
    extra = [run_ for _, run_, *_ in made.seen_by_app() if run_ != "-"]
    assert len(extra) == report.accounts.sent == report.accounts.answered
    # A quarter of a hundred a second, as far as half of the requests tell how many there are: within six deviations.
    assert 10 <= len(extra) <= 1.5 * 50
    eventually(lambda: made.state().requests["synthetic"]["copied"] - before["copied"] >= len(extra))
    after = made.state().requests["synthetic"]
    assert after["copied"] - before["copied"] == len(extra)
    assert after["excess"] == before["excess"]
    assert not made.state().lever.engaged


@pytest.mark.parametrize("proxy", PROXIES)
def test_users_do_not_notice_a_tap_that_hangs_or_is_gone(proxy: str, tmp_path: Path) -> None:
    with (
        stack(tmp_path) as made,
        PROXIES[proxy](made, "100%") as copier,
        made.tap() as tap,
        client(copier.url) as users,
    ):
        assert users.get("/item/1").status_code == 200
        eventually(lambda: made.state().accounting.seen == 1)
        for fault in (signal.SIGSTOP, signal.SIGKILL):
            tap.signal(fault)
            began = time.monotonic()
            assert all(users.get(f"/item/{number}").status_code == 200 for number in range(300))
            assert all(users.post("/cart", content=b"x" * 20_000).status_code == 201 for _ in range(5))
            # Waiting for each copy as long as it may take would be more than a minute.
            assert time.monotonic() - began < 20
            if proxy == "haproxy":  # which asks whether the lever is free, and gets no answer
                eventually(lambda: users.get("/item/1", headers=made.tagged()).status_code == 429, every=0.1)
                assert users.get("/item/1", headers=made.tagged()).headers["reamp-withheld"] == "credit"


# --- Envoy and Istio, of which no binary can be had here ---


def configured() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "envoy" / "envoy.yaml").read_text())
    return found


def routes(listener: dict[str, Any]) -> list[dict[str, Any]]:
    (chain,) = listener["filter_chains"]
    found: list[dict[str, Any]] = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
    return found


def test_envoys_configuration_is_one_by_the_schema_of_its_api() -> None:
    told = json_format.ParseDict(configured(), Bootstrap())
    users, replays = told.static_resources.listeners
    assert (users.name, replays.name) == ("users", "replays")
    wrong = configured()
    routes(wrong["static_resources"]["listeners"][0])[0]["route"]["mirror"] = "reamp_tap"
    with pytest.raises(json_format.ParseError):
        json_format.ParseDict(wrong, Bootstrap())


def test_envoy_takes_tags_from_users_and_copies_all_of_a_replay() -> None:
    users, replays = configured()["static_resources"]["listeners"]
    config = users["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]
    assert config["request_headers_to_remove"] == ["baggage", "x-load-test", "x-reamp-dark"]
    (route,) = routes(users)
    (mirror,) = route["route"]["request_mirror_policies"]
    assert mirror["runtime_fraction"]["default_value"] == {"numerator": 10, "denominator": "HUNDRED"}
    tagged, others = routes(replays)
    assert tagged["route"]["request_mirror_policies"] == [{"cluster": "reamp_tap"}]
    assert others["direct_response"]["status"] == 403


def test_istio_takes_tags_from_users_and_copies_all_of_a_replay() -> None:
    service, limits, _ = yaml.safe_load_all((DEPLOY / "istio" / "reamp-tap.yaml").read_text())
    replays, users = service["spec"]["http"]
    assert (replays["mirrorPercentage"]["value"], users["mirrorPercentage"]["value"]) == (100, 10)
    spelled = {name.replace("_", "-") for name in users["headers"]["request"]["remove"]}
    assert spelled == {"baggage", "x-load-test", "x-reamp-dark"}
    assert "match" not in users
    assert replays["match"][0]["gateways"] == ["mesh"]
    assert limits["spec"]["host"] == users["mirror"]["host"] == replays["mirror"]["host"] == "reamp-tap"
