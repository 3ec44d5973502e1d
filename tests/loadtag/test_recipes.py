"""The recipes of docs/tag.md and loadtag/README.md for what is done where the tag arrives, run as they are printed.

Those for what comes in and what goes out are in `integrations`.
"""

import io
import logging
import logging.config
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, func, select
from sqlalchemy.orm import Session

from loadtag import LoadTag, Served, current_run, format_token, serve
from tests.support.recipes import PAGE, README, ROOT, recipe

TAG = LoadTag("key", "run-1", 1_800_000_000, "shop")
SYNTHETIC = Served(TAG, format_token(TAG, bytes(64)))


def test_threads() -> None:
    later = recipe(PAGE, "Threads, tasks and executors")["later"]
    seen: list[str | None] = []
    told = threading.Event()
    done: list[Callable[[], None]] = []

    def work() -> None:
        seen.append(current_run())
        told.set()

    with serve(SYNTHETIC):
        later(work, done)
    assert told.wait(10)
    done[0]()
    assert seen == ["run-1", "run-1"]


async def test_what_outlives_the_request() -> None:
    start = recipe(PAGE, "Threads, tasks and executors", 1)["start"]

    async def consume() -> str | None:
        return current_run()

    with serve(SYNTHETIC):
        assert await start(consume) is None


def test_opentelemetry() -> None:
    """In a process of its own, since it is for a whole process."""
    code = (
        "from tests.support.recipes import PAGE, recipe\n"
        "recipe(PAGE, 'With OpenTelemetry')\n"
        "from opentelemetry import propagate\n"
        f"carrier = {{}}; propagate.inject(carrier, propagate.extract({{'baggage': 'loadtest={SYNTHETIC.token}'}}))\n"
        "assert carrier['x-load-test'] == 'run-1'"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT, timeout=50)


async def test_acting() -> None:
    names = recipe(PAGE, "Acting on it")
    counted: list[str] = []
    learnt: list[bool] = []
    total: Any = SimpleNamespace(labels=lambda kind: SimpleNamespace(inc=lambda: counted.append(kind)))
    shop = SimpleNamespace(learn=lambda: learnt.append(True))
    for served, charge in ((SYNTHETIC, "none"), (None, "ch_1")):
        with serve(served):
            assert names["charge"]("visa", 5)["id"] == charge
            await names["send_mail"]("alice@example.com", "Hello")
            names["recommend"](shop, total)
    assert (counted, learnt) == (["synthetic", "real"], [True])


def test_logs() -> None:
    handler = recipe(PAGE, "Acting on it", 1)["handler"]
    handler.setStream(io.StringIO())
    record = logging.LogRecord("app", logging.INFO, __file__, 1, "an order", None, None)
    with serve(SYNTHETIC):
        handler.handle(record)
    assert handler.stream.getvalue() == "INFO [run-1] an order\n"


def test_logs_by_a_dictionary(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(recipe(PAGE, "Acting on it", 2)["LOGGING"] | {"disable_existing_loggers": False})
    logger = logging.getLogger("shop")
    with serve(SYNTHETIC):
        logger.info("an order")
    logger.info("another one")
    logger.handlers.clear()
    assert capsys.readouterr().err == "INFO [run-1] an order\nINFO [-] another one\n"


def filled(engine: Engine, names: dict[str, Any], make: Callable[[], Any]) -> Engine:
    names["Base"].metadata.create_all(engine)
    for served in (SYNTHETIC, None):
        with serve(served), Session(engine) as session, session.begin():
            session.add(make())
    return engine


def test_rows_by_sqlalchemy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = recipe(PAGE, "Telling the rows apart")
    engine = filled(create_engine(f"sqlite:///{tmp_path / 'a.db'}"), names, names["Order"])
    assert names["after"](engine, "run-1") == {"orders": 1}
    assert "{'orders': 1}" in capsys.readouterr().out
    with Session(engine) as session:
        assert len(session.scalars(names["real_orders"]).all()) == 1
    engine.dispose()


def test_rows_by_sqlalchemy_in_the_readme(tmp_path: Path) -> None:
    names = recipe(README, "Rows that load leaves behind")
    make = lambda: names["Customer"](email=names["synthetic_email"]("run-1", 7))  # noqa: E731 - the one line there is
    engine = filled(create_engine(f"sqlite:///{tmp_path / 'a.db'}"), names, make)
    assert names["after"](engine, "run-1") == {"customers": 1}
    with Session(engine) as session:
        assert session.scalar(select(func.count()).select_from(names["Customer"])) == 1
    engine.dispose()


def test_rows_by_django() -> None:
    """In a process of its own, since its app has to be one of Django's."""
    code = (
        "import django; from django.conf import settings; from django.apps import AppConfig, apps\n"
        "sqlite = {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}\n"
        "settings.configure(DATABASES={'default': sqlite}); django.setup()\n"
        "import tests.support.recipes as module\n"
        "shop = AppConfig('shop', module); shop.label = 'shop'; shop.apps = apps\n"
        "apps.app_configs['shop'] = shop; shop.models = apps.all_models['shop']\n"
        "names = module.recipe(module.PAGE, 'Telling the rows apart', 1)\n"
        "from django.db import connection\n"
        "with connection.schema_editor() as editor: editor.create_model(names['Order'])\n"
        "from loadtag import LoadTag, Served, serve\n"
        "with serve(Served(LoadTag('key', 'run-1', 1, 'shop'), 'token')): names['Order'].objects.create()\n"
        "names['Order'].objects.create()\n"
        "assert names['after']('run-1') == (1, {'shop.Order': 1})\n"
        "assert names['Order'].objects.count() == 1"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT, timeout=50)


def test_names() -> None:
    assert recipe(PAGE, "Telling the rows apart", 2)["like"]("a_b", escape="!") == "loadtest-a!_b-%"


def test_acting_in_the_readme() -> None:
    names = recipe(README, "Acting on it")
    kinds: list[str] = []
    total: Any = SimpleNamespace(labels=lambda kind: SimpleNamespace(inc=lambda: kinds.append(kind)))
    with serve(SYNTHETIC):
        assert names["charge"]("visa") == {"status": "succeeded"}
        names["count"](total)
    assert names["charge"]("visa") == {"status": "charged"}
    assert kinds == ["synthetic"]
