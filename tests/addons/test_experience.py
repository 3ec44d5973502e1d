"""What users get, as the sidecar tells it: counted by kind, told without loss, judged by the owner's rules."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import event, given, settings
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.test import tflow

from addons import reckoning
from addons.books import KINDS, OUTCOMES, Books
from addons.controlport.access import Tokens
from addons.controlport.port import MAX_SUBSCRIBERS, ControlPort, Facts
from addons.lever.latch import LatchingLever
from addons.meter import Meter
from addons.passage import KIND, REFUSED
from addons.recounting import TOLD, Recount
from addons.ruling import LULL_NS, Ruling, check
from addons.window import Totals
from loadtag import Signer, Verifier
from rules.experience import SECOND_NS, Tally
from rules.latency import CELLS, place
from rules.slo import Rule
from rules.units import UnitError
from rules.wire import Experience

# --- counted


def pass_through(meter: Meter, kind: str, seconds: float | None, status: int = 200, refused: str = "") -> None:
    """One request through the meter; no seconds: it is never answered."""
    flow = tflow.tflow()
    flow.metadata[KIND] = kind
    meter.requestheaders(flow)
    if refused:
        flow.metadata[REFUSED] = refused
    if seconds is None:
        meter.error(flow)
        return
    flow.response = http.Response.make(status)
    flow.response.timestamp_end = flow.request.timestamp_start + seconds
    meter.response(flow)


def test_the_meter_times_each_kind_for_itself_and_nothing_that_was_refused() -> None:
    books = Books.create(2)
    for row in books.rows:
        meter = Meter(row)
        pass_through(meter, "real", 0.1)
        pass_through(meter, "real", 0.1, 503)
        pass_through(meter, "synthetic", 2.0)
        pass_through(meter, "synthetic", None)
        pass_through(meter, "synthetic", 0.001, 429, refused="credit")
        pass_through(meter, "synthetic", 0.001, 503, refused="lever")
        pass_through(meter, "untrusted", 0.3)
        pass_through(meter, "untrusted", 0.001, 403, refused="tag")
    told = {kind: reckoning.totals(books.rows, kind) for kind in KINDS}
    assert {kind: total[:3] for kind, total in told.items()} == {
        "real": (4, 4, 2),
        "synthetic": (4, 4, 2),
        "untrusted": (2, 2, 0),
    }
    cells = {kind: {at: count for at, count in enumerate(total.latency) if count} for kind, total in told.items()}
    assert cells == {"real": {place(0.1): 4}, "synthetic": {place(2.0): 2}, "untrusted": {place(0.3): 2}}
    books.close()


# --- told

steps = st.lists(
    st.tuples(
        st.sampled_from(TOLD),
        st.sampled_from(["arrive", "answer", "fail", "withhold", "tell one", "tell two"]),
        st.integers(0, CELLS - 1),
        st.integers(0, 3_000_000_000),
    ),
    max_size=60,
)


class Counting:
    """Counts that are simply counted up."""

    def __init__(self) -> None:
        self.counts = {kind: {"arrived": 0, "finished": 0, "errors": 0, "withheld": 0} for kind in TOLD}
        self.cells = {kind: [0] * CELLS for kind in TOLD}

    def totals(self) -> dict[str, Totals]:
        return {
            kind: Totals(one["arrived"] - one["withheld"], one["finished"], one["errors"], tuple(self.cells[kind]))
            for kind, one in self.counts.items()
        }

    def happen(self, kind: str, what: str, cell: int) -> None:
        one = self.counts[kind]
        if what == "arrive":
            one["arrived"] += 1
        elif one["arrived"] - one["finished"] - one["withheld"]:
            one["withheld" if what == "withhold" else "finished"] += 1
            one["errors"] += what == "fail"
            self.cells[kind][cell] += what == "answer"


@given(steps)
def test_nothing_is_told_twice_and_nothing_lost_however_late_a_line_is(
    history: list[tuple[str, str, int, int]],
) -> None:
    """Two listeners with lines of their own, against what was counted."""
    now, counting = 10**12, Counting()
    listeners = {name: Recount(now, counting.totals()) for name in ("tell one", "tell two")}
    heard = {name: dict.fromkeys(TOLD, Tally()) for name in listeners}

    def listen(name: str) -> None:
        line = listeners[name].tell(now, counting.totals())
        assert line.elapsed_ns == now - 10**12
        for kind, tally in Experience.model_validate_json(line.model_dump_json()).tallies().items():
            assert min(tally.arrived, tally.finished, tally.errors, *tally.latency.values(), 0) >= 0
            heard[name][kind] += tally

    for kind, what, cell, step in history:
        now += step
        if what in listeners:
            listen(what)
        else:
            counting.happen(kind, what, cell)
    for name in listeners:
        listen(name)
        for kind in TOLD:
            told, one = heard[name][kind], counting.counts[kind]
            # One that was told as come and withheld afterwards is made up for by the next that comes.
            assert one["arrived"] - one["withheld"] <= told.arrived <= one["arrived"]
            assert (told.finished, told.errors) == (one["finished"], one["errors"])
            assert told.latency == {cell: count for cell, count in enumerate(counting.cells[kind]) if count}
            assert told.seconds == pytest.approx((now - 10**12) / SECOND_NS)


# --- judged


class Traffic:
    """Totals that go up, and the looks of a ruling at them, once a second."""

    def __init__(self, *rules: str) -> None:
        self.second = 0
        self.counts = dict.fromkeys(TOLD, (0, 0, 0))
        self.cells = {kind: [0] * CELLS for kind in TOLD}
        self.ruling = Ruling(0, self.totals())
        self.configure(*rules)

    def configure(self, *rules: str) -> None:
        self.ruling.configure([check(Rule.parse(text)) for text in rules], self.second * SECOND_NS)

    def totals(self) -> dict[str, Totals]:
        return {kind: Totals(*self.counts[kind], tuple(self.cells[kind])) for kind in TOLD}

    def requests(self, kind: str, count: int, seconds: float = 0.1, errors: int = 0) -> None:
        arrived, finished, failed = self.counts[kind]
        self.counts[kind] = (arrived + count, finished + count, failed + errors)
        self.cells[kind][place(seconds)] += count

    def look(self, *, engaged: bool = False) -> str:
        """A second later: the reason to pull the lever, if there is one."""
        self.second += 1
        ruled = self.ruling.look(self.second * SECOND_NS, self.totals(), engaged)
        self.news = ruled.news
        return ruled.pull

    def states(self) -> list[str]:
        return [judged.state for judged in self.ruling.judged()]


RULE = "p(95)<500ms window=5s for=3s grace=2s min_samples=10"


def test_users_who_suffer_under_load_pull_the_lever_and_the_reason_tells_the_rule_with_figures() -> None:
    traffic = Traffic(RULE, "error_ratio<50%")
    for _ in range(10):
        traffic.requests("real", 20)
        traffic.requests("synthetic", 5)
        assert not traffic.look()
    assert traffic.states() == ["fine", "fine"]
    pulls = []
    for _ in range(8):
        traffic.requests("real", 20, 0.8)
        traffic.requests("synthetic", 5)
        pulls.append(traffic.look())
    assert pulls[:3] == ["", "", ""]  # pending: it has to last
    assert pulls[3].startswith("p(95)<500ms does not hold: 80")
    assert pulls[3].endswith("ms (100 real requests in 5s), for 3s")
    assert traffic.states() == ["breached", "fine"]


def test_users_who_suffer_without_load_pull_nothing_until_there_is_some() -> None:
    traffic = Traffic(RULE)
    for _ in range(20):
        traffic.requests("real", 20, 0.8)
        assert not traffic.look()
        assert traffic.states() == ["idle"]
    (judged,) = traffic.ruling.judged()
    assert judged.value == pytest.approx(0.8, rel=0.01)  # what they get is told even so
    assert judged.words == "p(95)<500ms: 803.8ms, and no synthetic requests pass"
    pulls = []
    for _ in range(5):
        traffic.requests("real", 20, 0.8)
        traffic.requests("synthetic", 1)
        pulls.append(bool(traffic.look()))
    assert pulls == [False, False, False, True, True]  # `for`, from when there was load


def test_a_breach_pulls_only_while_synthetic_requests_pass_or_are_being_answered() -> None:
    traffic = Traffic(RULE)
    for second in range(6):
        traffic.requests("real", 20, 0.8)
        if second < 2:
            traffic.requests("synthetic", 5)
        assert not traffic.look()
    assert traffic.states() == ["breached"]
    arrived, finished, errors = traffic.counts["synthetic"]
    traffic.counts["synthetic"] = (arrived + 1, finished, errors)  # one that hangs
    traffic.requests("real", 20, 0.8)
    assert traffic.look()
    traffic.requests("real", 20, 0.8)
    assert traffic.look()


def test_no_data_under_load_counts_as_a_breach_after_grace() -> None:
    traffic = Traffic(RULE)
    pulls = []
    for _ in range(7):
        traffic.requests("synthetic", 5)
        traffic.requests("real", 1)
        pulls.append(traffic.look())
    assert [bool(reason) for reason in pulls] == [False] * 5 + [True] * 2
    assert "5 samples in 5s, and 10 are needed" in pulls[-1]


def test_load_begins_anew_after_a_lull_and_after_the_lever() -> None:
    traffic = Traffic("p(95)<500ms window=5s for=0s grace=4s min_samples=1")

    def suffer() -> bool:
        traffic.requests("real", 20, 0.8)
        traffic.requests("synthetic", 1)
        return bool(traffic.look())

    assert [suffer() for _ in range(6)] == [False] * 4 + [True] * 2
    traffic.look(engaged=True)
    assert traffic.states() == ["idle"]
    assert [suffer() for _ in range(5)] == [False] * 4 + [True]
    for _ in range(LULL_NS // SECOND_NS):
        traffic.requests("real", 20)
        assert not traffic.look()
    assert traffic.states() == ["idle"]
    assert [suffer() for _ in range(5)] == [False] * 4 + [True]


# A second: real requests and whether they are slow, synthetic requests, whether the lever is pulled; or many alike.
seconds = st.lists(
    st.tuples(
        st.sampled_from([0, 3, 12]), st.booleans(), st.sampled_from([0, 0, 1]), st.sampled_from([False] * 9 + [True])
    )
    | st.just((12, True, 0, False)),
    max_size=12,
)
lives = st.lists(st.tuples(seconds, st.integers(1, 12)), max_size=6).map(
    lambda parts: [second for part, times in parts for second in part * times][:90]
)


def model(life: list[tuple[int, bool, int, bool]], window: int, for_: int, grace: int, least: int) -> bool:
    """Whether the last second of a life has to pull the lever, from all of it."""
    begun = last = None  # the seconds at which the load that goes on began, and at which it was last seen
    for at, (_, _, synthetic, engaged) in enumerate(life):
        if engaged or (last is not None and not synthetic and at - last >= LULL_NS // SECOND_NS):
            begun = last = None
        elif synthetic:
            begun, last = at if begun is None else begun, at
    if begun is None or not life[-1][2]:
        return False
    breach: int | None = None
    for at in range(begun, len(life)):
        times = sorted(slow for count, slow, _, _ in life[max(0, at - window + 1) : at + 1] for _ in range(count))
        if len(times) < least:
            breach = at if breach is None and at - begun >= grace else breach
        elif times[-(-95 * len(times) // 100) - 1]:
            breach = at if breach is None else breach
        else:
            breach = None
    now = len(life) - 1
    return breach is not None and now - begun >= grace and now - breach >= for_


@settings(max_examples=40)
@given(lives, st.integers(1, 6), st.integers(0, 4), st.integers(0, 4), st.sampled_from([1, 10, 30]))
def test_the_lever_is_pulled_exactly_when_a_model_that_sees_everything_says_so(
    life: list[tuple[int, bool, int, bool]], window: int, for_: int, grace: int, least: int
) -> None:
    traffic = Traffic(f"p(95)<500ms window={window}s for={for_}s grace={grace}s min_samples={least}")
    for at, (real, slow, synthetic, engaged) in enumerate(life):
        traffic.requests("real", real, 0.8 if slow else 0.1)
        traffic.requests("synthetic", synthetic)
        pulled = bool(traffic.look(engaged=engaged))
        event(f"pulled: {pulled}")
        assert pulled == model(life[: at + 1], window, for_, grace, least)


def test_a_rule_that_warns_is_told_once_and_pulls_nothing() -> None:
    traffic = Traffic("synthetic.error_ratio<10% window=5s for=0s grace=0s min_samples=1 action=warn")
    told = []
    for _ in range(4):
        traffic.requests("synthetic", 5, errors=2)
        assert not traffic.look()
        told.append(traffic.news)
    assert told == [("synthetic.error_ratio<10% does not hold: 40% (5 synthetic requests in 5s)",), (), (), ()]
    assert traffic.states() == ["breached"]


def test_a_reload_may_bring_a_rule_that_looks_back_further() -> None:
    counts = {"arrived": 0}

    def totals() -> dict[str, Totals]:
        counts["arrived"] += 10
        one = Totals(counts["arrived"], counts["arrived"], 0, (0,) * CELLS)
        return dict.fromkeys(TOLD, one)

    ruling = Ruling(0, totals())
    ruling.configure([Rule.parse("rate>1/s window=2s")], 0)
    for second in range(1, 9):
        ruling.look(second * SECOND_NS, totals(), engaged=False)
        if second == 4:
            ruling.configure([Rule.parse("rate>1/s window=5s"), Rule.parse("rate>5/s window=2s")], second * SECOND_NS)
    assert [one.value for one in ruling.judged()] == [pytest.approx(10.0), pytest.approx(10.0)]


def test_at_a_tap_what_nobody_saw_the_end_of_is_not_under_way_for_ever() -> None:
    def totals(real: int, synthetic: int) -> dict[str, Totals]:
        none = (0,) * CELLS
        return {"real": Totals(real, 0, 0, none, real), "synthetic": Totals(synthetic, 0, 0, none, synthetic)}

    ruling = Ruling(0, totals(0, 0))
    ruling.configure([Rule.parse("rate>5/s window=2s for=0s grace=0s min_samples=1")], 0)
    assert ruling.look(SECOND_NS, totals(10, 1), engaged=False).pull == ""
    assert [one.state for one in ruling.judged()] == ["fine"]
    for second in range(2, 40):  # no synthetic request comes any more, and in the end no real one
        assert ruling.look(second * SECOND_NS, totals(10, 1), engaged=False).pull == ""
    assert [one.state for one in ruling.judged()] == ["idle"]
    assert ruling.look(40 * SECOND_NS, totals(10, 2), engaged=False).pull.startswith("rate>5/s")


def test_a_reload_keeps_the_memory_of_rules_that_stay() -> None:
    traffic = Traffic(RULE)
    for _ in range(3):
        traffic.requests("real", 20, 0.8)
        traffic.requests("synthetic", 1)
        assert not traffic.look()
    traffic.configure(RULE, "max<1ms for=0s grace=2s")
    traffic.requests("real", 20, 0.8)
    traffic.requests("synthetic", 1)
    assert traffic.look().startswith("p(95)<500ms")
    assert traffic.states() == ["breached", "pending"]
    traffic.configure("max<1ms for=0s grace=2s")
    assert traffic.ruling.rules == (Rule.parse("max<1ms for=0s grace=2s"),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("value<1 plugin=a:b", "give such a rule to the run"),
        ("p(99)<1.1x baseline", "has no warm-up"),
        ("p(99)<1s action=back-off", "can't ease the load"),
    ],
)
def test_what_a_sidecar_can_not_go_by_is_refused(text: str, told: str) -> None:
    with pytest.raises(UnitError, match=told):
        check(Rule.parse(text))


# --- served

AUDIENCE = "shop"
SIGNER = Signer(Ed25519PrivateKey.generate())


@asynccontextmanager
async def serving(facts: Facts) -> AsyncIterator[tuple[ControlPort, Books, httpx.AsyncClient]]:
    books = Books.alone()
    port = ControlPort(books, LatchingLever(shared=books.shared), Verifier([SIGNER.public_key], AUDIENCE), facts)
    await port.start("127.0.0.1:0")
    try:
        async with httpx.AsyncClient(base_url=f"http://{port.address}", trust_env=False) as client:
            yield port, books, client
    finally:
        await port.close()


def tagged(audience: str = AUDIENCE) -> dict[str, str]:
    return {"baggage": f"loadtest={SIGNER.sign('run', int(time.time()) + 60, audience)}"}


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_stream_tells_each_listener_what_came_since_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("addons.watchman.EXPERIENCE_INTERVAL", 0.05)
    async with serving(Facts(audience=AUDIENCE)) as (port, books, client):
        meter = Meter(books.rows[0])
        pass_through(meter, "real", 0.1)
        async with client.stream("GET", "/v1/experience", headers=tagged()) as stream:
            assert stream.status_code == 200
            lines = stream.aiter_lines()
            first = Experience.model_validate_json(await anext(lines))
            assert first.tallies()["real"].arrived == 0
            for _ in range(3):
                pass_through(meter, "real", 0.2)
                pass_through(meter, "synthetic", 0.4, 500)
            heard, elapsed = first.tallies(), first.span_ns
            while heard["synthetic"].finished < 3:
                line = Experience.model_validate_json(await anext(lines))
                heard = {kind: heard[kind] + tally for kind, tally in line.tallies().items()}
                elapsed += line.span_ns
                assert line.elapsed_ns == elapsed
            assert heard["real"].latency == {place(0.2): 3}
            assert (heard["synthetic"].errors, heard["synthetic"].latency) == (3, {place(0.4): 3})
            await port.close()
            async for _ in lines:
                pass
        assert port.watchman.listeners == 0


async def test_who_may_listen() -> None:
    token = "a token of enough letters"
    async with serving(Facts(audience=AUDIENCE, tokens=Tokens(token))) as (port, _, client):
        # As if from another machine: its name for this one is no loopback address.
        far = {"host": "sidecar.shop.example"}
        for headers, status in [
            (far | tagged(), 200),
            (far | tagged("elsewhere"), 403),
            (far, 403),
            (far | {"authorization": f"Bearer {token}"}, 200),
            ({}, 200),
        ]:
            async with client.stream("GET", "/v1/experience", headers=headers) as stream:
                assert stream.status_code == status, headers
        await until(lambda: not port.watchman.listeners)
        port.watchman.listeners = MAX_SUBSCRIBERS
        answer = await client.get("/v1/experience", headers=tagged())
        assert answer.status_code == 503
        assert "listen to what users get already" in answer.json()["detail"]


async def test_a_rule_pulls_the_lever_of_the_port_and_is_told_in_state_and_metrics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("addons.watchman.EXPERIENCE_INTERVAL", 0.05)
    rule = Rule.parse("p(95)<500ms window=1m for=0s grace=0s min_samples=5")
    async with serving(Facts(audience=AUDIENCE, slo=(rule,))) as (port, books, client):
        meter = Meter(books.rows[0])
        (judged,) = (await client.get("/v1/state")).json()["slo"]
        assert (judged["rule"], judged["state"], judged["value"]) == (str(rule), "idle", None)
        for _ in range(10):
            pass_through(meter, "real", 0.8)
        pass_through(meter, "synthetic", 0.1)
        await until(lambda: books.shared.engaged)
        lever = port.lever.state
        assert lever.by == "rule"
        assert lever.reason.startswith("p(95)<500ms does not hold: 80")
        assert "(10 real requests in 1m)" in lever.reason
        metrics = (await client.get("/metrics")).text
        assert f'reamp_slo_value{{rule="{rule}"}} 0.80' in metrics
        await until(lambda: port.watchman.judged()[0].state == "idle")
        port.configure(Facts(audience=AUDIENCE), port.verifier)
        assert port.watchman.judged() == []


async def test_a_fault_in_judging_pulls_the_lever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("addons.watchman.EXPERIENCE_INTERVAL", 0.05)
    async with serving(Facts(slo=(Rule.parse("p(95)<500ms"),))) as (port, books, _):
        monkeypatch.setattr(Ruling, "look", lambda *_: 1 // 0)
        await until(lambda: books.shared.engaged)
        assert port.lever.state.reason == "the sidecar's rules could not be judged: its log tells why"
    assert "The rules can't be judged" in caplog.text


def test_outcomes_that_count_as_errors_are_those_of_the_signal() -> None:
    books = Books.alone()
    for at in range(len(OUTCOMES)):
        books.rows[0].ended[at] = 10**at
    books.rows[0].arrived[0] = 1_111_111_111
    told = reckoning.totals(books.rows)
    named = {name: 10**at for at, name in enumerate(OUTCOMES)}
    assert told.errors == named["5xx"] + named["error"]
    assert told.arrived == told.finished + told.unknown == 1_111_111_111 - named["withheld"] - named["denied"]
    assert told.unknown == named["copied"] + named["excess"]
