"""SQLAlchemy: rows that load made say so, and can be counted and deleted.

    class Order(LoadTestMixin, Base): ...          # or, for a table: Table("orders", metadata, ..., stamp_column())

    select(Order).where(Order.load_test_run.is_(None))              # what real users ordered
    clean_up(session, Base.metadata, run="shop-20261122-0300")      # and commit

The stamp is written with the row, by the process that serves the request, so it is as trustworthy as the load tag. It
is a column's default: what inserts around SQLAlchemy (a trigger, raw SQL) writes none. What load *changes* is not
stamped: a real row stays real.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from sqlalchemy import Column, String, and_, func, or_, select
from sqlalchemy.exc import CircularDependencyError
from sqlalchemy.orm import Mapped, MappedAsDataclass, mapped_column
from sqlalchemy.schema import sort_tables_and_constraints

from loadtag.records import STAMP_LENGTH, StillNeeded, of_load, stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection, ForeignKeyConstraint, MetaData, Table
    from sqlalchemy.orm import Session

COLUMN = "load_test_run"
"""The column that holds the stamp; null in rows of real users."""


def stamp_column() -> Column[str]:
    """Make the column for a table: one of Core, or that of a subclass which has a table of its own.

    (Joined table inheritance. Such a subclass gives it another name: ``own_load_test_run = stamp_column()``.)
    """
    return Column(COLUMN, String(STAMP_LENGTH), default=stamp, index=True, nullable=True)


class LoadTestMixin:
    """Adds the column to a declarative model."""

    load_test_run: Mapped[Optional[str]] = mapped_column(  # noqa: UP045 - read at run time, by Python 3.9 too
        String(STAMP_LENGTH), insert_default=stamp, index=True, nullable=True
    )


class LoadTestDataclassMixin(MappedAsDataclass):
    """Adds the column to a declarative model that is a dataclass; whoever makes a row does not set it."""

    load_test_run: Mapped[Optional[str]] = mapped_column(  # noqa: UP045 - as above
        String(STAMP_LENGTH), insert_default=stamp, init=False, index=True, nullable=True
    )


def count(session: Session | Connection, metadata: MetaData, run: str) -> dict[str, int]:
    """Count the rows of a run, or of ``"*"``: of all runs. By table; tables that have none are left out."""
    counts = {
        table.fullname: _count(session, select(func.count()).where(_of(table, run))) for table in _stamped(metadata)
    }
    return {name: rows for name, rows in counts.items() if rows}


def clean_up(session: Session | Connection, metadata: MetaData, run: str) -> dict[str, int]:
    """Delete the rows of a run, or of ``"*"``: of all runs. Returns how many, by table. Nothing is committed here.

    Real rows are never deleted, nor changed, by no cascade either: if any row that is not of this load refers to a
    row that is (by a foreign key of `metadata`), `StillNeeded` is raised and nothing is done. Raises ValueError if
    `run` is no run id. Rows go in one statement for each table, those that refer to others first.
    """
    references = dict(_references(session, metadata, run))
    if references:
        raise StillNeeded(references)
    tables, loose = _in_order(metadata)
    for constraint in loose:
        if COLUMN in constraint.table.columns and COLUMN in constraint.referred_table.columns:
            session.execute(constraint.table.update().where(_of(constraint.table, run)).values(_nothing(constraint)))
    deleted = {}
    for table in reversed([table for table in tables if COLUMN in table.columns]):
        result: Any = session.execute(table.delete().where(_of(table, run)))
        if result.rowcount:
            deleted[table.fullname] = result.rowcount
    if hasattr(session, "expire_all"):
        session.expire_all()  # what the session knows of these rows is wrong now
    return deleted


def _stamped(metadata: MetaData) -> list[Table]:
    """All tables with a stamp; those that are referred to before those that refer to them."""
    return [table for table in _in_order(metadata)[0] if COLUMN in table.columns]


def _in_order(metadata: MetaData) -> tuple[list[Table], list[ForeignKeyConstraint]]:
    """Sort the tables, and tell which keys are in the way of any order, as where two tables refer to each other.

    Keys that may be null give way to those that may not.
    """

    def needed(constraint: ForeignKeyConstraint) -> bool | None:
        return None if all(column.nullable for column in constraint.columns) else False

    sort: Any = sort_tables_and_constraints  # which is not typed
    tables = sorted(metadata.tables.values(), key=lambda table: table.key)
    try:
        steps = sort(tables, filter_fn=needed)
    except CircularDependencyError:  # then the database has to be one that looks at keys in the end
        steps = sort(tables)
    loose = [key for table, keys in steps if table is None for key in keys]
    return [table for table, _ in steps if table is not None], [key for key in loose if needed(key) is None]


def _nothing(constraint: ForeignKeyConstraint) -> dict[Any, None]:
    return dict.fromkeys(constraint.columns)


def _of(table: Table, run: str) -> ColumnElement[bool]:
    column, wanted = table.columns[COLUMN], of_load(run)
    return column.is_not(None) if wanted is None else column == wanted


def _references(session: Session | Connection, metadata: MetaData, run: str) -> Iterator[tuple[str, int]]:
    for child in _in_order(metadata)[0]:
        for constraint in child.foreign_key_constraints:
            if COLUMN in constraint.referred_table.columns:
                rows = _count(session, _referring(child, constraint, run))
                if rows:
                    yield f"{child.fullname}.{','.join(constraint.column_keys)}", rows


def _referring(child: Table, constraint: ForeignKeyConstraint, run: str) -> Any:
    """Select how many rows of `child` are not of this load and refer to rows that are."""
    parent = constraint.referred_table.alias()
    joined = and_(*(key.parent == parent.columns[key.column.key] for key in constraint.elements))
    wanted, of_parent = of_load(run), parent.columns[COLUMN]
    met = and_(joined, of_parent.is_not(None) if wanted is None else of_parent == wanted)
    query = select(func.count()).select_from(child.join(parent, met))
    if COLUMN not in child.columns:
        return query
    own = child.columns[COLUMN]
    return query.where(own.is_(None) if wanted is None else or_(own.is_(None), own != wanted))


def _count(session: Session | Connection, query: Any) -> int:
    return int(session.execute(query).scalar_one())
