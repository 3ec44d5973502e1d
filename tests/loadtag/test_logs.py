"""The run's id in log lines."""

import io
import logging
import logging.handlers
import queue
from collections.abc import Iterator

import pytest

from loadtag import Dark, LoadTag, LoadTagFilter, Served, serve
from loadtag.faults import tell
from loadtag.logs import add_load_test

SYNTHETIC = Served(LoadTag("key", "run-1", 1_800_000_000, "shop"), "token")


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("an app.of ours")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers.clear()


def handler(attribute: str = "load_test") -> tuple[logging.Handler, io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(f"[%({attribute})s] %(message)s"))
    handler.addFilter(LoadTagFilter(attribute))
    return handler, stream


@pytest.mark.parametrize("attribute", ["load_test", "run"])
def test_every_line_says_which_run_it_belongs_to(logger: logging.Logger, attribute: str) -> None:
    to, stream = handler(attribute)
    logger.addHandler(to)
    for served in (SYNTHETIC, None, Dark("next")):
        with serve(served):
            logger.info("an order of %d", 5)
    logger.info("outside")
    assert stream.getvalue().splitlines() == [
        "[run-1] an order of 5",
        "[-] an order of 5",
        "[dark:next] an order of 5",
        "[-] outside",
    ]


def test_what_a_queue_hands_on_is_said_where_it_was_logged(logger: logging.Logger) -> None:
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    to_queue = logging.handlers.QueueHandler(records)
    to_queue.addFilter(LoadTagFilter())
    logger.addHandler(to_queue)
    to, stream = handler()
    listener = logging.handlers.QueueListener(records, to)
    listener.start()
    with serve(SYNTHETIC):
        logger.info("in the request")
    with serve(None):
        logger.info("another one")
    listener.stop()
    assert stream.getvalue().splitlines() == ["[run-1] in the request", "[-] another one"]


def test_the_processor_for_structlog() -> None:
    assert add_load_test(None, "info", {"event": "a"}) == {"event": "a"}
    with serve(SYNTHETIC):
        assert add_load_test(None, "info", {"event": "a"}) == {"event": "a", "load_test": "run-1"}
        assert add_load_test(None, "info", {"event": "a", "load_test": "own"}) == {"event": "a", "load_test": "own"}


def test_a_fault_is_told_once_and_a_broken_log_is_no_fault_of_the_app(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("the app's own")

    tell("one fault of this test")
    tell("one fault of this test")
    assert [record.getMessage() for record in caplog.records] == ["one fault of this test"]
    log, broken = logging.getLogger("loadtag"), Broken()
    log.addFilter(broken)
    try:
        tell("another fault of this test")
    finally:
        log.removeFilter(broken)
