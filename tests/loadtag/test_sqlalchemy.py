"""Rows that load made, in a real SQLite by way of SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    create_engine,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, Session, mapped_column, relationship
from sqlalchemy.util import greenlet_spawn

from loadtag import Dark, LoadTag, Served, current_run, serve
from loadtag.records import StillNeeded
from loadtag.sqlalchemy import COLUMN, LoadTestDataclassMixin, LoadTestMixin, clean_up, count, stamp_column


class Base(DeclarativeBase):
    pass


tags = Table(
    "tags",
    Base.metadata,
    Column("order_id", ForeignKey("orders.id"), primary_key=True),
    Column("tag", Integer, primary_key=True),
    stamp_column(),
)


class Customer(LoadTestMixin, Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Order(LoadTestMixin, Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id", ondelete="CASCADE"))
    replaces_id: Mapped[int | None] = mapped_column(ForeignKey("orders.id"))
    customer: Mapped[Customer] = relationship()


class Product(Base):
    """Load makes none, so it has no stamp."""

    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    last_order_id: Mapped[int | None] = mapped_column(ForeignKey("orders.id", ondelete="SET NULL"))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    event.listen(engine, "connect", lambda connection, _: connection.execute("pragma foreign_keys=on"))
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def served(run: str | None) -> Served | None:
    return None if run is None else Served(LoadTag("key", run, 1_800_000_000, "shop"), "token")


def order(engine: Engine, run: str | None, orders: int = 1) -> None:
    """What a service does for one request: a customer with orders."""
    with serve(served(run)), Session(engine) as session, session.begin():
        customer = Customer(name="someone")
        made = [Order(customer=customer) for _ in range(orders)]
        session.add_all(made)
        session.flush()
        session.execute(insert(tags), [{"order_id": each.id, "tag": 1} for each in made])


def rows(engine: Engine) -> dict[str, list[Any]]:
    with engine.connect() as connection:
        return {
            table.name: list(connection.execute(select(table.c[COLUMN]).order_by(table.c[COLUMN])).scalars())
            for table in (Customer.__table__, Order.__table__, tags)
            if isinstance(table, Table)
        }


def test_rows_bear_the_run_that_made_them(engine: Engine) -> None:
    order(engine, None)
    order(engine, "run-1", orders=2)
    with serve(Dark("next")), Session(engine) as session, session.begin():
        session.execute(insert(Customer), [{"name": "a copy"}])
    assert rows(engine) == {
        "customers": [None, "dark:next", "run-1"],
        "orders": [None, "run-1", "run-1"],
        "tags": [None, "run-1", "run-1"],
    }
    with Session(engine) as session:
        assert count(session, Base.metadata, "run-1") == {"customers": 1, "orders": 2, "tags": 2}
        assert count(session, Base.metadata, "*") == {"customers": 2, "orders": 2, "tags": 2}
        real = session.scalars(select(Order).where(Order.load_test_run.is_(None))).all()
        assert len(real) == 1


def test_what_load_changes_stays_real(engine: Engine) -> None:
    order(engine, None)
    with serve(served("run-1")), Session(engine) as session, session.begin():
        session.scalars(select(Customer)).one().name = "changed"
    assert rows(engine)["customers"] == [None]


def test_one_run_or_all_of_them_are_deleted_and_real_rows_stay(engine: Engine) -> None:
    for run in (None, "run-1", "run-2", "run-1", None):
        order(engine, run, orders=2)
    with Session(engine) as session, session.begin():
        seen = session.get(Order, 3)
        assert clean_up(session, Base.metadata, "run-1") == {"tags": 4, "orders": 4, "customers": 2}
        assert seen is not None
        assert session.get(Order, 3) is None, "what the session remembers of it is forgotten"
    assert rows(engine)["orders"] == [None] * 4 + ["run-2"] * 2
    with engine.begin() as connection:
        assert clean_up(connection, Base.metadata, "*") == {"tags": 2, "orders": 2, "customers": 1}
        assert clean_up(connection, Base.metadata, "*") == {}
    assert rows(engine) == {"customers": [None] * 2, "orders": [None] * 4, "tags": [None] * 4}


def test_nothing_is_committed_here(engine: Engine) -> None:
    order(engine, "run-1")
    with engine.connect() as connection:
        clean_up(connection, Base.metadata, "run-1")
    assert rows(engine)["orders"] == ["run-1"]


@pytest.mark.parametrize("run", ["run-1", "*"])
@pytest.mark.parametrize("refers", ["customer", "product", "order"])
def test_load_that_real_rows_refer_to_is_not_deleted(engine: Engine, run: str, refers: str) -> None:
    """A cascade in the database would delete or change the real row."""
    order(engine, "run-1")
    with Session(engine) as session, session.begin():
        made = session.scalars(select(Order)).one()
        if refers == "customer":
            session.add(Order(customer_id=made.customer_id))
        elif refers == "product":
            session.add(Product(last_order_id=made.id))
        else:
            real = Customer(name="real")
            session.add(Order(customer=real, replaces_id=made.id))
    before = rows(engine)
    where = {"customer": "orders.customer_id", "product": "products.last_order_id", "order": "orders.replaces_id"}[
        refers
    ]
    with Session(engine) as session, session.begin(), pytest.raises(StillNeeded, match=f"1 by {where}") as error:
        clean_up(session, Base.metadata, run)
    assert error.value.references == {where: 1}
    assert rows(engine) == before


def test_load_that_another_run_refers_to_is_not_deleted_without_it(engine: Engine) -> None:
    order(engine, "run-1")
    with serve(served("run-2")), Session(engine) as session, session.begin():
        session.add(Order(customer_id=1))
    with Session(engine) as session, session.begin():
        with pytest.raises(StillNeeded, match=r"orders\.customer_id"):
            clean_up(session, Base.metadata, "run-1")
        assert clean_up(session, Base.metadata, "*") == {"tags": 1, "orders": 2, "customers": 1}


@pytest.mark.parametrize("run", [None, "", "%", "run 1", "**", "*; drop table", 5])
def test_what_is_no_run_deletes_nothing(engine: Engine, run: Any) -> None:
    order(engine, None)
    order(engine, "run-1")
    with Session(engine) as session, session.begin(), pytest.raises(ValueError, match="neither a run id"):
        clean_up(session, Base.metadata, run)
    assert rows(engine)["orders"] == [None, "run-1"]


def test_tables_without_a_stamp_are_left_alone(engine: Engine) -> None:
    other = MetaData()
    Table("products", other, Column("id", Integer, primary_key=True))
    with engine.begin() as connection:
        connection.execute(insert(Product), [{}])
        assert clean_up(connection, other, "*") == {}
        assert len(connection.execute(select(Product)).all()) == 1


async def test_asyncio_sessions_see_what_is_served() -> None:
    """Their drivers are called in greenlets."""
    with serve(served("run-1")):
        assert await greenlet_spawn(current_run) == "run-1"
    assert await greenlet_spawn(current_run) is None


def test_models_that_are_dataclasses_bear_the_stamp_too(engine: Engine) -> None:
    class Data(MappedAsDataclass, DeclarativeBase):
        pass

    class Basket(LoadTestDataclassMixin, Data):
        __tablename__ = "baskets"
        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        items: Mapped[int]

    Data.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        with serve(served("run-1")):
            session.add(Basket(items=1))
            session.flush()
        session.add(Basket(2))
    with Session(engine) as session, session.begin():
        assert {row.items: row.load_test_run for row in session.scalars(select(Basket))} == {1: "run-1", 2: None}
        assert clean_up(session, Data.metadata, "run-1") == {"baskets": 1}


def test_tables_of_subclasses_bear_a_stamp_of_their_own(engine: Engine) -> None:
    class Shop(DeclarativeBase):
        pass

    class Payment(LoadTestMixin, Shop):
        __tablename__ = "payments"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "any"}  # noqa: RUF012 - as SQLAlchemy has it
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]

    class Transfer(Payment):
        __tablename__ = "transfers"
        __mapper_args__ = {"polymorphic_identity": "transfer"}  # noqa: RUF012 - as above
        id: Mapped[int] = mapped_column(ForeignKey("payments.id"), primary_key=True)
        transfer_load_test_run = stamp_column()

    Shop.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        with serve(served("run-1")):
            session.add_all([Transfer(), Payment()])
            session.flush()
        session.add(Transfer())
    with Session(engine) as session, session.begin():
        assert clean_up(session, Shop.metadata, "run-1") == {"payments": 2, "transfers": 1}
        assert session.scalar(select(func.count()).select_from(Transfer)) == 1


@pytest.mark.parametrize(("first", "second"), [("null", "null"), ("late", "null"), ("null", "firm"), ("late", "late")])
def test_tables_that_refer_to_each_other(first: str, second: str, engine: Engine) -> None:
    """By keys that may be null, that may not, and that may not but are looked at when all is done."""

    def key(name: str, to: str, sort: str) -> Column[Any]:
        late = {"deferrable": True, "initially": "DEFERRED"} if sort == "late" else {}
        return Column(name, ForeignKey(to, **late), nullable=sort == "null")  # type: ignore[arg-type]

    def number() -> Column[int]:
        return Column("id", Integer, primary_key=True)

    metadata = MetaData()
    baskets = Table("baskets", metadata, number(), key("item", "a_items.id", first), stamp_column())
    items = Table("a_items", metadata, number(), key("basket", "baskets.id", second), stamp_column())
    metadata.create_all(engine)
    for run, id_ in (("run-1", 1), (None, 2)):
        with serve(served(run)), engine.begin() as connection:
            connection.execute(insert(baskets).values(id=id_, item=id_ if first == "late" else None))
            connection.execute(insert(items).values(id=id_, basket=id_))
            connection.execute(update(baskets).where(baskets.c.id == id_).values(item=id_))
    with engine.begin() as connection:
        assert count(connection, metadata, "*") == {"baskets": 1, "a_items": 1}
        assert clean_up(connection, metadata, "run-1") == {"baskets": 1, "a_items": 1}
    with engine.connect() as connection:
        assert connection.execute(select(baskets)).all() == [(2, 2, None)]
        assert connection.execute(select(items)).all() == [(2, 2, None)]
