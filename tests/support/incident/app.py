"""The shop. Run it as ``INCIDENT=... python -m uvicorn tests.support.incident.app:app``.

It is built as most are: a page is a plain function, which a worker thread runs that has a connection to the database
of its own. There are a few of these. Who gets none in time gets 503, as from any pool, so a page that takes long takes
the others down with it.
"""

import asyncio
import html
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.support.incident.catalogue import opened, shelf
from tests.support.incident.setting import Setting
from tests.support.incident.stock import CATEGORIES, INDEX

WORKERS = 8
PATIENCE, LOCKED = 1.0, 5.0
"""Seconds that a request waits for a worker, and a writer for the database's lock (which is Python's default)."""
ASKING = 0.06
"""Seconds that the service for recommendations takes, which is somebody else's."""

_setting = Setting.read()
_mine = threading.local()
_catalogue = opened(_setting.database, WORKERS)


def _connected() -> None:
    _mine.database = sqlite3.connect(_setting.database, timeout=LOCKED, isolation_level=None)
    _mine.database.execute("PRAGMA synchronous = OFF")


_workers = ThreadPoolExecutor(WORKERS, initializer=_connected)
_free = asyncio.Semaphore(WORKERS)

if _setting.fault != "index" or _setting.fixed:
    _connected()
    _mine.database.execute(INDEX)


def _rows(query: str, *values: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = _mine.database.execute(query, values).fetchall()
    return found


def _page(title: str, rows: Sequence[tuple[Any, ...]]) -> Response:
    """Each row is an item of a list."""
    items = html.escape("\n".join(["\t".join(map(str, row)) for row in rows])).replace("\n", "</li>\n<li>")
    name = html.escape(title)
    return HTMLResponse(f"<!doctype html><title>{name}</title><h1>{name}</h1><ul><li>{items}</li></ul>")


def home(_request: Request) -> Response:
    return _page("Welcome", _rows("SELECT name FROM products WHERE id <= 24"))


def product(request: Request) -> Response:
    number = request.path_params["number"]
    query = "SELECT name, cents, stars FROM products JOIN prices ON prices.product = id"
    found = _rows(f"{query} JOIN ratings ON ratings.product = id WHERE id = ?", number)
    return _page(found[0][0], found) if found else PlainTextResponse("there is no such product", 404)


def also_bought(request: Request) -> Response:
    """What of the same shelf sells best. Without an index each product of the shelf reads all order lines."""
    number = request.path_params["number"]
    shelf = _rows("SELECT id FROM products WHERE id BETWEEN ? AND ?", number - 30, number + 30)
    if not shelf:
        return PlainTextResponse("there is no such product", 404)
    sold = "(SELECT count(*) FROM order_lines WHERE product = products.id)"
    query = f"SELECT name, {sold} AS sold FROM products WHERE id BETWEEN ? AND ? ORDER BY sold DESC LIMIT 8"
    return _page("Bought by others", _rows(query, number - 30, number + 30))


def category(request: Request) -> Response:
    number = request.path_params["number"]
    if not 1 <= number <= CATEGORIES:
        return PlainTextResponse("there is no such category", 404)
    once = _setting.fault != "queries" or _setting.fixed
    return _page(f"Category {number}", shelf(_catalogue, number, at_once=once))


def search(request: Request) -> Response:
    word = request.query_params.get("q", "")
    return _page("Found", _rows("SELECT name FROM products WHERE name >= ? ORDER BY name LIMIT 24", word))


def counted(title: str, _request: Request) -> Response:
    """Count the visit, and show what the service for recommendations says."""
    broken = _setting.fault == "lock" and not _setting.fixed
    _mine.database.execute("BEGIN IMMEDIATE")
    try:
        _rows("UPDATE visits SET number = number + 1 WHERE page = 'all' RETURNING number")
        if broken:
            time.sleep(ASKING)
    finally:
        _mine.database.execute("COMMIT")
    if not broken:
        time.sleep(ASKING)
    return _page(title, _rows("SELECT name FROM products WHERE id BETWEEN 100 AND 124"))


def orders(request: Request) -> Response:
    lines = "SELECT name FROM order_lines JOIN products ON products.id = product WHERE customer = ?"
    return _page("Your orders", _rows(lines, request.path_params["number"]))


def stock(request: Request) -> Response:
    found = _rows("SELECT number FROM stock WHERE product = ?", request.path_params["number"])
    return JSONResponse({"stock": found[0][0]} if found else {"error": "no such product"}, 200 if found else 404)


def guide(_request: Request) -> Response:
    return _page("Help", [("Send it back within 30 days.",)])


class Pooled:
    """Has a page made by a worker, if one is free in time."""

    def __init__(self, page: Callable[[Request], Response]) -> None:
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(PATIENCE):
                await _free.acquire()
        except TimeoutError:
            return PlainTextResponse("no worker is free", 503)
        try:
            return await asyncio.get_running_loop().run_in_executor(_workers, self._page, request)
        except sqlite3.OperationalError as error:  # the lock was not to be had
            return PlainTextResponse(str(error), 500)
        finally:
            _free.release()


class AccessLog:
    """Writes what nginx writes with `FORMAT`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._file = open(_setting.log, "a", buffering=1)  # noqa: SIM115, PTH123 - open as long as the shop runs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, size = time.monotonic(), 0, 0

        async def sending(message: Message) -> None:
            nonlocal status, size
            status = message.get("status", status)
            size += len(message.get("body", b""))
            await send(message)

        await self._app(scope, receive, sending)
        now = time.time()
        target = scope["raw_path"].decode() + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
        local = datetime.fromtimestamp(now, UTC).strftime("%d/%b/%Y:%H:%M:%S %z")
        agent = dict(scope["headers"]).get(b"user-agent", b"-").decode("latin-1")
        request = f"{scope['method']} {target} HTTP/{scope['http_version']}"
        took = time.monotonic() - began
        self._file.write(f'127.0.0.1 - - [{local}] "{request}" {status} {size} "-" "{agent}" {took:.3f} {now:.3f}\n')


_PAGES: dict[str, Callable[[Request], Response]] = {
    "/": home,
    "/product/{number:int}": product,
    "/product/{number:int}/also-bought": also_bought,
    "/category/{number:int}": category,
    "/search": search,
    "/sale": partial(counted, "Sale"),
    "/news": partial(counted, "News"),
    "/basket": partial(counted, "Basket"),
    "/account/{number:int}/orders": orders,
    "/api/stock/{number:int}": stock,
    "/help": guide,
}

app = AccessLog(Starlette(routes=[Route(path, Pooled(page)) for path, page in _PAGES.items()]))
