"""Rows that load made, in a real SQLite by way of Django's models."""

import asyncio
from collections.abc import Iterator
from typing import Any

import django
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.management import call_command
from django.db import connection, migrations, transaction
from django.db.migrations.writer import MigrationWriter

if not settings.configured:  # once in a process
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["tests.support.djangoshop"],
        LOGGING_CONFIG=None,
    )
    django.setup()

from loadtag import Dark, LoadTag, Served, serve
from loadtag.django import LoadTestField, clean_up, count
from loadtag.records import StillNeeded
from tests.support.djangoshop.models import (
    Basket,
    Category,
    Customer,
    Express,
    Item,
    Late,
    Note,
    Order,
    Product,
    Review,
    Shipment,
)


@pytest.fixture(scope="module", autouse=True)
def tables() -> None:
    call_command("migrate", run_syncdb=True, verbosity=0)


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def served(run: str | None) -> Served | None:
    return None if run is None else Served(LoadTag("key", run, 1_800_000_000, "shop"), "token")


def order(run: str | None, orders: int = 1) -> Any:
    """What a service does for one request."""
    with serve(served(run)), transaction.atomic():
        customer = Customer.objects.create(name="someone")
        for _ in range(orders):
            made = Order.objects.create(customer=customer)
            made.products.add(Product.objects.get_or_create(pk=1)[0])
            Review.objects.bulk_create([Review(order=made), Review(order=made)])
        return made


def rows() -> dict[str, list[str | None]]:
    return {
        "customers": sorted(Customer.objects.values_list("load_test_run", flat=True), key=str),
        "orders": sorted(Order.objects.values_list("load_test_run", flat=True), key=str),
        "reviews": sorted(Review.objects.values_list("load_test", flat=True), key=str),
    }


def test_rows_bear_the_run_that_made_them() -> None:
    order(None)
    order("run-1")
    with serve(Dark("next")):
        Customer(name="a copy").save()
    assert rows() == {
        "customers": [None, "dark:next", "run-1"],
        "orders": [None, "run-1"],
        "reviews": [None, None, "run-1", "run-1"],
    }
    assert count("run-1") == {"djangoshop.Customer": 1, "djangoshop.Order": 1, "djangoshop.Review": 2}
    assert count("*") == {"djangoshop.Customer": 2, "djangoshop.Order": 1, "djangoshop.Review": 2}
    assert Order.objects.filter(load_test_run=None).count() == 1


def test_what_load_changes_stays_real_and_the_other_way_round() -> None:
    order(None)
    with serve(served("run-1")):
        customer = Customer.objects.get()
        customer.name = "changed"
        customer.save()
        made = Customer.objects.create(name="load's")
    made.name = "changed"
    made.save()
    assert rows()["customers"] == [None, "run-1"]


async def test_async_code_stamps_too() -> None:
    """Django's async models call the sync ones by `sync_to_async`."""
    field: Any = Customer._meta.get_field("load_test_run")

    async def stamped(run: str | None) -> Any:
        with serve(served(run)):
            return await sync_to_async(field.pre_save)(Customer(), add=True)

    runs = ["run-1", None, "run-2"]
    assert await asyncio.gather(*map(stamped, runs)) == runs


def test_one_run_or_all_of_them_are_deleted_and_real_rows_stay() -> None:
    for run in (None, "run-1", "run-2", "run-1", None):
        order(run, orders=2)
    assert clean_up("run-1") == {
        "djangoshop.Customer": 2,
        "djangoshop.Order": 4,
        "djangoshop.Review": 8,
        "djangoshop.Order_products": 4,
    }
    assert rows()["orders"] == [None] * 4 + ["run-2"] * 2
    assert clean_up("*")["djangoshop.Order"] == 2
    assert clean_up("*") == {}
    assert rows() == {"customers": [None] * 2, "orders": [None] * 4, "reviews": [None] * 8}
    assert Product.objects.count() == 1
    assert [each.products.count() for each in Order.objects.all()] == [1] * 4


def test_more_than_fit_at_once() -> None:
    with serve(served("run-1")):
        Customer.objects.bulk_create(Customer(name=str(number)) for number in range(2500))
    Customer.objects.create(name="real")
    assert clean_up("run-1") == {"djangoshop.Customer": 2500}
    assert rows()["customers"] == [None]


@pytest.mark.parametrize("run", ["run-1", "*"])
@pytest.mark.parametrize("refers", ["Order.customer", "Order.replaces", "Review.order", "Shipment.order"])
def test_load_that_real_rows_refer_to_is_not_deleted(run: str, refers: str) -> None:
    made = order("run-1")
    if refers == "Order.customer":
        Order.objects.create(customer=made.customer)
    elif refers == "Order.replaces":
        Order.objects.create(customer=Customer.objects.create(name="real"), replaces=made)
    else:
        (Review if refers == "Review.order" else Shipment).objects.create(order=made)
    before = rows()
    with pytest.raises(StillNeeded) as error:
        clean_up(run)
    assert error.value.references == {f"djangoshop.{refers}": 1}
    assert rows() == before


def test_load_that_another_run_refers_to_is_not_deleted_without_it() -> None:
    made = order("run-1")
    with serve(served("run-2")):
        Review.objects.create(order=made)
    with pytest.raises(StillNeeded, match=r"djangoshop\.Review\.order"):
        clean_up("run-1")
    assert clean_up("*")["djangoshop.Review"] == 3


def test_models_in_two_tables() -> None:
    with serve(served("run-1")):
        Express.objects.create(customer=Customer.objects.create(name="load's"))
    order(None)
    assert clean_up("run-1") == {"djangoshop.Customer": 1, "djangoshop.Express": 1, "djangoshop.Order": 1}
    assert (Express.objects.count(), Order.objects.count()) == (0, 1)


def test_a_database_that_keeps_what_is_deleted_is_not_asked_for_ever() -> None:
    order("run-1")
    with connection.cursor() as cursor:  # rolled back with the rest
        cursor.execute("create trigger kept before delete on djangoshop_review begin select raise(ignore); end")
    with pytest.raises(RuntimeError, match=r"djangoshop\.Review"):
        clean_up("run-1")
    assert rows()["orders"] == ["run-1"]


@pytest.mark.parametrize("run", [None, "", "%", "run 1", "**", 5])
def test_what_is_no_run_deletes_nothing(run: Any) -> None:
    order("run-1")
    with pytest.raises(ValueError, match="neither a run id"):
        clean_up(run)
    assert rows()["orders"] == ["run-1"]


def test_the_field_can_be_migrated() -> None:
    migration = type("Migration", (migrations.Migration,), {})("0001", "shop")
    migration.operations = [migrations.AddField("order", "load_test_run", LoadTestField())]
    text = MigrationWriter(migration).as_string()
    assert "import loadtag.django" in text
    assert "loadtag.django.LoadTestField(" in text


def test_models_that_refer_to_each_other_and_other_views_of_a_model_are_in_nobodys_way() -> None:
    with serve(served("run-1")):
        customer = Customer.objects.create(name="someone")
        Note.objects.create(order=Late.objects.create(customer=customer))
        basket = Basket.objects.create()
        basket.first = Item.objects.create(basket=basket)
        basket.save()
    order(None)
    assert count("run-1") == {f"djangoshop.{name}": 1 for name in ("Customer", "Order", "Note", "Basket", "Item")}
    assert sum(clean_up("run-1").values()) == 5
    assert Order.objects.count() == 1
    assert count("*") == {}


def test_rows_that_protect_others_of_their_model_go_first() -> None:
    with serve(served("run-1")):
        above = Category.objects.create()
        for _ in range(3):
            above = Category.objects.create(above=Category.objects.create(above=above))
    assert clean_up("run-1") == {"djangoshop.Category": 7}
    with serve(served("run-1")):
        above = Category.objects.create()
    Category.objects.create(above=above)
    with pytest.raises(StillNeeded):
        clean_up("run-1")
    assert Category.objects.count() == 2
