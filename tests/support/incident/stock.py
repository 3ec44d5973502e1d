"""The shop's database: SQLite, with as many products as are wanted. The same number gives the same rows."""

import random
import sqlite3
from pathlib import Path

CATEGORIES = 80
PER_PRODUCT = 4
"""Times that a product stands in an order."""

_TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE products (id INTEGER PRIMARY KEY, category INTEGER NOT NULL, name TEXT NOT NULL);
CREATE TABLE prices (product INTEGER PRIMARY KEY, cents INTEGER NOT NULL);
CREATE TABLE stock (product INTEGER PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE ratings (product INTEGER PRIMARY KEY, stars REAL NOT NULL);
CREATE TABLE makers (product INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE pictures (product INTEGER PRIMARY KEY, file TEXT NOT NULL);
CREATE TABLE order_lines (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL, product INTEGER NOT NULL);
CREATE TABLE visits (page TEXT PRIMARY KEY, number INTEGER NOT NULL);
"""

_INDEXES = """
CREATE INDEX products_by_category ON products (category);
CREATE INDEX products_by_name ON products (name);
CREATE INDEX lines_by_customer ON order_lines (customer);
INSERT INTO visits VALUES ('all', 0);
"""

INDEX = "CREATE INDEX IF NOT EXISTS lines_by_product ON order_lines (product)"
"""What nobody thought of (fault `index`)."""

WORDS = ("amber", "birch", "cedar", "coral", "delta", "ember", "fjord", "grove", "linen", "maple", "ocean", "slate")


def make(path: Path, products: int) -> Path:
    """Make a database."""
    draw = random.Random(products)
    with sqlite3.connect(path) as database:
        database.executescript(_TABLES)
        rows = range(1, products + 1)
        database.executemany(
            "INSERT INTO products VALUES (?, ?, ?)",
            ((n, n % min(CATEGORIES, products) + 1, f"{draw.choice(WORDS)} {draw.choice(WORDS)} {n}") for n in rows),
        )
        database.executemany("INSERT INTO prices VALUES (?, ?)", ((n, draw.randrange(99, 99_999)) for n in rows))
        database.executemany("INSERT INTO stock VALUES (?, ?)", ((n, draw.randrange(500)) for n in rows))
        database.executemany("INSERT INTO ratings VALUES (?, ?)", ((n, draw.randrange(10, 51) / 10) for n in rows))
        database.executemany("INSERT INTO makers VALUES (?, ?)", ((n, draw.choice(WORDS)) for n in rows))
        database.executemany("INSERT INTO pictures VALUES (?, ?)", ((n, f"{draw.choice(WORDS)}.jpg") for n in rows))
        lines = products * PER_PRODUCT
        database.executemany(
            "INSERT INTO order_lines VALUES (?, ?, ?)",
            ((n, draw.randrange(1 + products // 2), draw.randrange(1, products + 1)) for n in range(lines)),
        )
        database.executescript(_INDEXES)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path
