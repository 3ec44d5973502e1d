"""Production: an SQLite database with realistic rows and the command line of the app that serves it."""

import os
import random
import sqlite3
import sys
from pathlib import Path

PRODUCTS, REVIEWS, ORDERS = 3_000, 20_000, 6_000
CATEGORIES = ("amplifiers", "cables", "effects", "guitars", "keyboards", "microphones", "pickups", "speakers")
_WORDS = ("warm", "clean", "vintage", "studio", "stage", "tube", "analogue", "digital", "compact", "heavy", "bright")
_VERDICTS = ("does what it says", "my band loves it", "came late", "hums a little", "best I ever had", "sent it back")


def build_database(path: Path) -> None:
    """Write the shop's database: the same rows each time."""
    choice = random.Random(1957)
    with sqlite3.connect(path) as database:
        database.executescript("""
            create table categories (id integer primary key, name text);
            create table products (id integer primary key, name text, category_id integer references categories(id),
                                   price real, stock integer, description text);
            create table reviews (id integer primary key, product_id integer references products(id), stars integer,
                                  author text, verdict text, written text);
            create table orders (id integer primary key, product_id integer references products(id), quantity integer,
                                 total real, placed text);
            create index reviews_product on reviews(product_id);
            create index products_category on products(category_id);
        """)
        database.executemany("insert into categories values (?, ?)", enumerate(CATEGORIES, 1))
        for number in range(1, PRODUCTS + 1):
            words = " ".join(choice.sample(_WORDS, 3))
            category = choice.randrange(len(CATEGORIES))
            price = round(choice.lognormvariate(4.5, 0.9), 2)
            database.execute(
                "insert into products values (?, ?, ?, ?, ?, ?)",
                (number, f"{words} {CATEGORIES[category][:-1]}", category + 1, price, choice.randrange(40), words * 8),
            )
        for number in range(1, REVIEWS + 1):
            product = min(PRODUCTS, int(choice.paretovariate(0.7)))  # a few products get most of the reviews
            row = (number, product, choice.choice((1, 3, 4, 4, 5, 5, 5)), f"user{choice.randrange(4000)}")
            database.execute(
                "insert into reviews values (?, ?, ?, ?, ?, ?)", (*row, choice.choice(_VERDICTS), _day(choice))
            )
        for number in range(1, ORDERS + 1):
            quantity = choice.choice((1, 1, 1, 2, 3))
            total = round(quantity * choice.lognormvariate(4.5, 0.9), 2)
            order = (number, choice.randint(1, PRODUCTS), quantity, total, _day(choice))
            database.execute("insert into orders values (?, ?, ?, ?, ?)", order)
    database.close()


def _day(choice: random.Random) -> str:
    return f"2026-{choice.randint(1, 12):02}-{choice.randint(1, 28):02}"


def command(database: Path, port: int) -> list[str]:
    """Give the command line that serves the database."""
    plugins = Path(__file__).with_name("plugins")
    settings = ("--setting", "num_sql_threads", "2", "--setting", "facet_suggest_time_limit_ms", "5")
    # Datasette gives a query up by the clock, which on a busy machine runs while the query does not.
    patience = ("--setting", "sql_time_limit_ms", "20000")
    serve = ("serve", "--immutable", str(database), "--host", "127.0.0.1", "--port", str(port))
    return [sys.executable, "-m", "datasette", *serve, "--plugins-dir", str(plugins), *settings, *patience]


def environment(account: Path) -> dict[str, str]:
    """Give the environment in which the app writes its account to `account`."""
    return {**os.environ, "REAMP_DEMO_ACCOUNT": str(account)}
