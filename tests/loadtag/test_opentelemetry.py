"""The tag in OpenTelemetry's context, baggage, propagators and spans: all with the real SDK."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from opentelemetry import baggage, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from loadtag import Dark, LoadTag, Served, current_run, extract, format_token, inject, is_dark, is_load_test, serve
from loadtag.context import elsewhere
from loadtag.opentelemetry import LoadTagPropagator, bearing, instrument, served_by
from loadtag.opentelemetry_sdk import LoadTagSpanProcessor
from loadtag.wsgi import LoadTagMiddleware

TAG = LoadTag("key", "run-1", 1_800_000_000, "shop")
TOKEN = format_token(TAG, bytes(64))
SERVED = Served(TAG, TOKEN)
ARRIVING = {
    "baggage": f"user=alice,loadtest={TOKEN}",
    "x-load-test": "run-1",
    "traceparent": f"00-{1:032x}-{2:016x}-01",
}


@pytest.fixture(autouse=True)
def nobody_is_asked() -> Iterator[None]:
    before = propagate.get_global_textmap()
    yield
    propagate.set_global_textmap(before)
    elsewhere.clear()


@contextmanager
def attached(context: Context) -> Iterator[None]:
    token = attach(context)
    try:
        yield
    finally:
        detach(token)


def standard(*more: Any) -> CompositePropagator:
    return CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator(), *more])


def test_what_opentelemetry_takes_from_a_request_is_known_here() -> None:
    propagator = standard(LoadTagPropagator())
    with attached(propagator.extract(ARRIVING)):
        assert current_run() == "run-1"
        assert baggage.get_baggage("loadtest") == TOKEN
        assert baggage.get_baggage("user") == "alice"
        with serve(None):
            assert not is_load_test()
    assert not is_load_test()
    with attached(propagator.extract({"baggage": "user=alice"})):
        assert not is_load_test()


def test_its_baggage_alone_is_enough() -> None:
    """As where only its own propagators are set, and ours was made once."""
    LoadTagPropagator()
    with attached(standard().extract(ARRIVING)):
        assert current_run() == "run-1"
        carrier: dict[str, str] = {}
        inject(carrier)
        assert extract(carrier) == SERVED
    with attached(baggage.set_baggage("loadtest", "rubbish")):
        assert not is_load_test()
    with attached(baggage.set_baggage("loadtest", 5)):
        assert not is_load_test()


def test_what_came_in_goes_out_again() -> None:
    propagator = standard(LoadTagPropagator())
    carrier: dict[str, str] = {}
    propagator.inject(carrier, propagator.extract(ARRIVING))
    assert carrier == ARRIVING
    with attached(propagator.extract(ARRIVING)):
        carrier = {}
        propagator.inject(carrier)
    assert carrier == ARRIVING


@pytest.mark.parametrize("served", [SERVED, Dark("next")])
def test_what_middleware_took_from_a_request_goes_out_with_opentelemetry(served: Served | Dark) -> None:
    propagator = standard(LoadTagPropagator())
    carrier: dict[str, str] = {}
    with attached(baggage.set_baggage("user", "alice")), serve(served):
        propagator.inject(carrier)
    assert carrier["baggage"].startswith("user=alice")
    assert extract(carrier) == served
    real: dict[str, str] = {}
    with attached(baggage.set_baggage("user", "alice")):
        propagator.inject(real)
    assert real == {"baggage": "user=alice"}


def test_a_dark_copy_is_known_and_passed_on() -> None:
    propagator = standard(LoadTagPropagator())
    with attached(propagator.extract({"x-reamp-dark": "next"})):
        assert is_dark()
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
    assert carrier == {"x-reamp-dark": "next"}


@pytest.mark.parametrize("value", [f"loadtest={TOKEN},loadtest={TOKEN}", "loadtest=rubbish", f"loadtest={TOKEN}x"])
def test_a_broken_tag_is_no_tag_for_opentelemetry_either(value: str) -> None:
    propagator = standard(LoadTagPropagator())
    context = propagator.extract({"baggage": value + ",user=alice"})
    assert served_by(context) is None
    assert baggage.get_all(context) == {"user": "alice"}


def test_a_carrier_without_a_tag_takes_none_away() -> None:
    propagator = LoadTagPropagator()
    with attached(propagator.extract(ARRIVING)), attached(propagator.extract({"baggage": "user=alice"})):
        assert current_run() == "run-1"


def test_the_apps_own_context() -> None:
    LoadTagPropagator()
    with attached(bearing(SERVED, baggage.set_baggage("user", "alice"))):
        assert is_load_test()
        assert baggage.get_all() == {"user": "alice", "loadtest": TOKEN}
        with attached(bearing(None)):
            assert not is_load_test()
            assert baggage.get_all() == {"user": "alice"}
        with attached(baggage.remove_baggage("loadtest")):
            assert not is_load_test()
        with attached(bearing(Dark("next"))):
            assert is_dark()
            assert "loadtest" not in baggage.get_all()


class Appending:
    """A setter as instrumentation for Kafka has it: each call adds a header."""

    def set(self, carrier: list[tuple[str, bytes]], key: str, value: str) -> None:
        carrier.append((key, value.encode()))


class Request:
    """A carrier that only its own setter can write to."""

    def __init__(self) -> None:
        self.sent: dict[str, str] = {}


class OfRequests:
    def set(self, carrier: Request, key: str, value: str) -> None:
        carrier.sent[key] = value


def test_carriers_and_setters_of_other_libraries() -> None:
    propagator: Any = standard(LoadTagPropagator())
    context = propagator.extract(ARRIVING)
    kafka: list[tuple[str, bytes]] = []
    propagator.inject(kafka, context, setter=Appending())
    assert sorted(name for name, _ in kafka) == ["baggage", "traceparent", "x-load-test"]
    assert extract(kafka) == SERVED
    kafka = []
    with serve(SERVED):
        propagator.inject(kafka, setter=Appending())
    assert extract(kafka) == SERVED
    request = Request()
    propagator.inject(request, context, setter=OfRequests())
    assert request.sent == ARRIVING
    request = Request()
    with serve(SERVED):
        propagator.inject(request, baggage.set_baggage("user", "alice"), setter=OfRequests())
    assert request.sent["baggage"] == ARRIVING["baggage"]


class Broken:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_nothing_raises() -> None:
    propagator: Any = LoadTagPropagator()
    for carrier in (None, 5, [1], {1: 2}, {"baggage": 5}):
        propagator.extract(carrier)
        propagator.extract(carrier, getter=Broken())
        with serve(SERVED):
            propagator.inject(carrier, setter=Broken())
    processor = LoadTagSpanProcessor()
    with serve(SERVED):
        processor.on_start(Broken())  # type: ignore[arg-type]


@pytest.fixture
def spans() -> Iterator[tuple[TracerProvider, InMemorySpanExporter]]:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider, exporter
    provider.shutdown()


def attributes(exporter: InMemorySpanExporter) -> list[dict[str, Any]]:
    return [dict(span.attributes or {}) for span in exporter.get_finished_spans()]


def test_spans_of_load_are_marked(spans: tuple[TracerProvider, InMemorySpanExporter]) -> None:
    provider, exporter = spans
    instrument(provider)
    instrument(provider)
    tracer = provider.get_tracer(__name__)
    load = {"user_agent.synthetic.type": "test", "loadtest.run_id": "run-1"}
    with tracer.start_as_current_span("real"):
        pass
    with serve(SERVED), tracer.start_as_current_span("synthetic"), tracer.start_as_current_span("below it"):
        pass
    with tracer.start_as_current_span("server", context=propagate.extract(ARRIVING)):
        pass
    with serve(Dark("next")), tracer.start_as_current_span("dark"):
        pass
    assert attributes(exporter) == [{}, load, load, load, {"reamp.dark": "next"}]


def test_instrumenting_adds_the_tag_to_what_is_propagated_once(
    spans: tuple[TracerProvider, InMemorySpanExporter],
) -> None:
    propagate.set_global_textmap(standard())
    instrument(spans[0])
    once = propagate.get_global_textmap()
    instrument(spans[0])
    assert propagate.get_global_textmap() is once
    carrier: dict[str, str] = {}
    with serve(SERVED), trace.use_span(spans[0].get_tracer(__name__).start_span("calling"), end_on_exit=True):
        propagate.inject(carrier)
    assert extract(carrier) == SERVED
    assert carrier["traceparent"].startswith("00-")


def test_instrumenting_follows_into_executors(spans: tuple[TracerProvider, InMemorySpanExporter]) -> None:
    instrument(spans[0])
    with attached(propagate.extract(ARRIVING)), ThreadPoolExecutor(1) as pool:
        assert pool.submit(current_run).result() == "run-1"
    with attached(propagate.extract({})), ThreadPoolExecutor(1) as pool:
        assert pool.submit(current_run).result() is None


def test_a_thread_that_opentelemetry_takes_along_knows_what_is_served() -> None:
    LoadTagPropagator()
    theirs: Any = ThreadingInstrumentor()
    theirs.instrument()
    seen: list[str | None] = []
    try:
        with attached(propagate.extract(ARRIVING)):
            thread = Thread(target=lambda: seen.append(current_run()))
            thread.start()
        thread.join()
    finally:
        theirs.uninstrument()
    assert seen == ["run-1"]


def test_the_environment_alone_is_enough() -> None:
    code = (
        "from opentelemetry import propagate\n"
        "from opentelemetry.context import attach\n"
        f"attach(propagate.extract({ARRIVING!r}))\n"
        "carrier = {}; propagate.inject(carrier)\n"
        "import loadtag; assert loadtag.current_run() == 'run-1'\n"
        f"assert carrier == {ARRIVING!r}, carrier"
    )
    environment = os.environ | {"OTEL_PROPAGATORS": "tracecontext,baggage,loadtag"}
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, check=True, timeout=50)


def test_what_a_thread_has_left_attached_makes_no_load_of_a_real_request() -> None:
    """Contexts are left attached where a generator ends in another thread than it began in."""
    app = LoadTagMiddleware(lambda _environ, _start_response: [str(current_run()).encode()])
    context = LoadTagPropagator().extract(ARRIVING)
    with attached(context):
        assert current_run() == "run-1"
        assert [*app({}, lambda *_: None)] == [b"None"]
        assert current_run() == "run-1"
