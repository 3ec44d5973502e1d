"""Django: rows that load made say so, and can be counted and deleted.

    class Order(LoadTestModel): ...                 # or, in a model of any kind: load_test_run = LoadTestField()

    Order.objects.filter(load_test_run=None)        # what real users ordered
    clean_up("shop-20261122-0300")                  # from a management command

The stamp is written with the row, by the process that serves the request, so it is as trustworthy as the load tag. What
inserts around Django's models (a trigger, raw SQL) writes none. What load *changes* is not stamped: a real row stays
real. (What tells Django's views what they serve is `loadtag.integrations.django`.)
"""

# ruff: noqa: SLF001 - Django documents `_meta` and `_base_manager`

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, models, transaction
from django.db.models import Exists, OuterRef, Q

from loadtag.records import STAMP_LENGTH, StillNeeded, of_load, stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_ONCE = 1000
_PROTECTS = {models.PROTECT, models.RESTRICT, models.DO_NOTHING}
"""What is to become of rows, which others don't take with them."""


class LoadTestField(models.CharField):  # type: ignore[misc]  # Django is not typed
    """Holds the stamp of a row that load made; null in rows of real users."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = {"max_length": STAMP_LENGTH, "null": True, "blank": True, "editable": False, "db_index": True}
        super().__init__(*args, **{**given, **kwargs})

    def pre_save(self, model_instance: Any, add: bool) -> Any:
        """Stamp a row that is new, unless it brings a stamp of its own, as one that is copied does."""
        value = super().pre_save(model_instance, add)
        if add and value is None:
            value = stamp()
            setattr(model_instance, self.attname, value)
        return value


class LoadTestModel(models.Model):  # type: ignore[misc]
    """A model whose rows bear a stamp."""

    load_test_run = LoadTestField()

    class Meta:
        """Django makes no table for it."""

        abstract = True


def count(run: str, using: str = DEFAULT_DB_ALIAS) -> dict[str, int]:
    """Count the rows of a run, or of ``"*"``: of all runs. By model; those that have none are left out."""
    counts = {model._meta.label: _rows(model, run, using).count() for model in _stamped()}
    return {label: rows for label, rows in counts.items() if rows}


def clean_up(run: str, using: str = DEFAULT_DB_ALIAS) -> dict[str, int]:
    """Delete the rows of a run, or of ``"*"``: of all runs, in one transaction. Returns how many, by model.

    Real rows are never deleted, nor changed, by no cascade either: if any row that is not of this load refers to a row
    that is (by a foreign key of a model), `StillNeeded` is raised and nothing is done. Only what Django itself writes
    for a many-to-many field goes with either side. Raises ValueError if `run` is no run id, RuntimeError if the
    database won't delete. Signals are sent as for any deletion; a thousand rows of a model are taken at a time.
    """
    deleted: dict[str, int] = {}
    with transaction.atomic(using=using):
        references = dict(_references(run, using))
        if references:
            raise StillNeeded(references)
        for model in _in_order(_stamped()):
            rows = _rows(model, run, using)
            while keys := _first(rows) or _some(rows):
                total, by_model = rows.filter(pk__in=keys).delete()
                if not total:
                    raise RuntimeError(f"the database keeps rows of {model._meta.label} although they were deleted")
                for label, number in by_model.items():
                    deleted[label] = deleted.get(label, 0) + number
    return {label: number for label, number in deleted.items() if number}


def _first(rows: Any) -> list[Any]:
    """Return keys of rows that no row of the same model protects. None, if there are but circles of such."""
    model, free = rows.model, rows
    for child, key in _referring(model):
        if child is model and model._meta.get_field(key).remote_field.on_delete in _PROTECTS:
            referring = model._base_manager.using(rows.db).filter(**{f"{key}__pk": OuterRef("pk")})
            free = free.exclude(Exists(referring))
    return _some(free)


def _some(rows: Any) -> list[Any]:
    return list(rows.values_list("pk", flat=True)[:_AT_ONCE])


def _stamped() -> list[Any]:
    """All models with a stamp; those that are another one's proxy have no rows of their own."""
    return [model for model in apps.get_models() if not model._meta.proxy and _field(model) is not None]


def _field(model: Any) -> str | None:
    """Name the field that holds the stamp."""
    return next((field.name for field in model._meta.fields if isinstance(field, LoadTestField)), None)


def _rows(model: Any, run: str, using: str) -> Any:
    return model._base_manager.using(using).filter(_of(_field(model), run))


def _of(field: str | None, run: str) -> Q:
    wanted = of_load(run)
    return Q(**{f"{field}__isnull": False}) if wanted is None else Q(**{f"{field}": wanted})


def _referring(model: Any) -> Iterator[tuple[Any, str]]:
    """All models with a foreign key to this one, and the key's name; without the tables of many-to-many fields."""
    for relation in model._meta.get_fields(include_hidden=True):
        if relation.auto_created and not relation.concrete and (relation.one_to_many or relation.one_to_one):
            child = relation.related_model
            if not child._meta.auto_created and not relation.field.remote_field.parent_link:
                yield child, relation.field.name


def _references(run: str, using: str) -> Iterator[tuple[str, int]]:
    """Count the rows that are not of this load and refer to rows that are."""
    for model in _stamped():
        for child, key in _referring(model):
            rows = child._base_manager.using(using).filter(_of(f"{key}__{_field(model)}", run))
            if _field(child) is not None:
                rows = rows.exclude(_of(_field(child), run))
            number = rows.count()
            if number:
                yield f"{child._meta.label}.{key}", number


def _in_order(stamped: list[Any]) -> list[Any]:
    """Those that refer to others first, so that no key that protects what it refers to is in the way."""
    return _sorted(
        {
            model: {child for child, _ in _referring(model) if child in stamped and child is not model}
            for model in stamped
        }
    )


def _sorted(graph: dict[Any, set[Any]]) -> list[Any]:
    try:
        return [*TopologicalSorter(graph).static_order()]
    except CycleError as error:  # among these no order is right, which is no reason for disorder among the others
        return _sorted(_without(graph, error.args[1]))


def _without(graph: dict[Any, set[Any]], circle: list[Any]) -> dict[Any, set[Any]]:
    among = {*zip(circle, circle[1:]), *zip(circle[1:], circle)}
    return {model: {child for child in children if (model, child) not in among} for model, children in graph.items()}
