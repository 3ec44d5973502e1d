"""A shop's checkout that knows load when it sees it: what loadtag offers, each piece where it belongs.

    pip install loadtag fastapi httpx prometheus-client sqlalchemy uvicorn
    python -m uvicorn checkout:app --port 8000
    reamp sidecar --upstream http://127.0.0.1:8000 --listen 127.0.0.1:8080 --public-key load.pub

Under a load test it does all of its work: it reads, writes, calls the other services and renders its answers. Only what
can't be taken back it leaves out: it charges nobody and mails nobody. And what it has written can be told apart, and
removed. There is no ``if is_load_test()`` in it: what must not happen says so itself, where it is defined.
"""

import logging
import os
import smtplib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from prometheus_client import Counter, generate_latest
from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from loadtag import LoadTagFilter, keep_inside, metric_label, noop_when_load_test
from loadtag.asgi import LoadTagMiddleware
from loadtag.integrations import instrument
from loadtag.sqlalchemy import LoadTestMixin, clean_up

STOCK = os.environ.get("STOCK_URL", "http://stock.internal:8000")
PAYMENTS = os.environ.get("PAYMENTS_URL", "https://payments.example")
MAIL = os.environ.get("MAIL", "mail.internal:25")
DATABASE = os.environ.get("DATABASE", "sqlite:///orders.sqlite3")

# 1. Calls made for a synthetic request bear its tag, so that the stock, too, knows. But it stays in the house.
instrument("httpx")
keep_inside("*.internal", "localhost", "127.0.0.0/8")

# 2. Every line of the log names the run it belongs to, or none.
handler = logging.StreamHandler()
handler.addFilter(LoadTagFilter())
handler.setFormatter(logging.Formatter("%(levelname)s [%(load_test)s] %(message)s"))
logging.basicConfig(level=logging.INFO, handlers=[handler])
logger = logging.getLogger("checkout")

# 3. One label, so that no dashboard and no alert takes load for customers.
orders = Counter("shop_orders", "Orders taken.", ["kind"])

http = httpx.Client(timeout=10)
aside = ThreadPoolExecutor(2)
"""Mails are sent after the answer. What is handed over here remembers what it is part of."""


class Order(BaseModel):
    """What is posted."""

    email: str
    item: str
    amount: int


def test_receipt(order: Order) -> dict[str, Any]:
    """What a synthetic order gets in the place of a receipt: it looks like one."""
    return {"id": "ch_none", "status": "succeeded", "amount": order.amount}


# 4. What must not happen in a load test says so, where it is defined.
@noop_when_load_test(instead=test_receipt)
def charge(order: Order) -> dict[str, Any]:
    """Take the money."""
    answer = http.post(f"{PAYMENTS}/v1/charges", json={"amount": order.amount, "customer": order.email})
    receipt: dict[str, Any] = answer.raise_for_status().json()
    return receipt


@noop_when_load_test()
def thank(order: Order, receipt: dict[str, Any]) -> None:
    """Send a mail."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@shop.example", order.email, "Thank you"
    message.set_content(f"{order.item} is on its way. Your receipt: {receipt['id']}")
    host, _, port = MAIL.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=10) as server:
        server.send_message(message)


# 5. What is written says who made it, so that it can be left out of reports, and removed.
class Base(DeclarativeBase):
    """The tables."""


class Ordered(LoadTestMixin, Base):
    """An order that was taken. The mixin's column holds the run; it is null in those of customers."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    item: Mapped[str]
    receipt: Mapped[str]


database = create_engine(DATABASE)
Base.metadata.create_all(database)


def remove(run: str) -> dict[str, int]:
    """Remove what a run has left. Returns how many rows that were, by table."""
    with Session(database) as session, session.begin():
        return clean_up(session, Base.metadata, run)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Send the mails that are left before it ends."""
    yield
    aside.shutdown()


shop = FastAPI(lifespan=lifespan)


@shop.post("/orders", status_code=201)
def order(order: Order) -> dict[str, Any]:
    """Take an order."""
    http.post(f"{STOCK}/reservations", json={"item": order.item}).raise_for_status()
    receipt = charge(order)
    with Session(database) as session, session.begin():
        session.add(Ordered(email=order.email, item=order.item, receipt=receipt["id"]))
    orders.labels(kind=metric_label()).inc()
    aside.submit(thank, order, receipt)
    logger.info("%s was ordered", order.item)
    return receipt


@shop.get("/metrics")
def metrics() -> PlainTextResponse:
    """For Prometheus."""
    return PlainTextResponse(generate_latest().decode())


# 6. And around all of it, what tells the app what it is serving.
app = LoadTagMiddleware(shop)
