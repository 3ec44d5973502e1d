"""JSON of monitoring, as values and then as a model: strangers may have made it, so all that it holds is bounded. Pure.

A model that says of each of a million entries what is wrong with it takes more memory than the document does. So lists
and maps are measured before they are held against a model, whose own lists stop at the first mistake (`FailFast`).
"""

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from drill.sources.rates import MOST_GRAINS, MOST_ROUTES
from rules.exits import UserError

MOST_ITEMS = MOST_GRAINS + 1
MOST_NAMES = MOST_ROUTES


def read[Model: BaseModel](text: bytes, model: type[Model], whose: str) -> Model:
    """Read a document. Raises UserError, in which `whose` JSON it does not read as."""
    try:
        value = from_json(text.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=False)
    except ValueError as error:
        raise UserError(f"it does not read as {whose} JSON: {error}") from None
    _measure(value, whose)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, found["loc"]))
        raise UserError(f"it does not read as {whose} JSON: {where + ': ' if where else ''}{found['msg']}") from None


def _measure(value: Any, whose: str) -> None:
    """Raise UserError if a list or a map in it is larger than any that makes sense."""
    left = [value] if isinstance(value, dict | list) else []
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if len(one) > MOST_NAMES:
                raise UserError(f"it does not read as {whose} JSON: {len(one):,} names in one place are too many")
            left.extend(inner for inner in one.values() if isinstance(inner, dict | list))
        elif len(one) > MOST_ITEMS:
            raise UserError(f"it does not read as {whose} JSON: {len(one):,} items in one place are too many")
        else:
            left.extend(inner for inner in one if isinstance(inner, dict | list))
