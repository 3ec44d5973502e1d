"""Answers made of what was asked. Pure, but for reading files of bodies.

A body that is written as a mapping is filled in leaf by leaf and then made JSON: whatever a caller puts into a request,
the answer stays JSON of the form that the owner wrote. A leaf that is nothing but one expression keeps its type.
"""

import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from jinja2 import TemplateError, Undefined, nodes

from addons.parties.asked import Asked
from addons.parties.drawing import Ids
from addons.parties.rule import MAX_BODY, Answer, read
from addons.parties.sandbox import Given, RenderError, parsed, sandbox
from rules.units import UnitError

MAX_HEADER = 8192

Filled = Callable[[dict[str, Any]], Any]
"""Fills in one text."""


def _plain(value: Any) -> Filled:
    return lambda _: value


def _text(source: str) -> Filled:
    """Compile a text: it gives text. Raises UnitError."""
    if not re.search(r"\{[{%#]", source):
        return _plain(source)
    template = sandbox.from_string(parsed(source))

    def fill(names: dict[str, Any]) -> str:
        made, size = [], 0
        for piece in template.generate(names):
            size += len(piece)
            if size > MAX_BODY:
                raise RenderError(f"the answer would have more than {MAX_BODY:,} bytes")
            made.append(piece)
        return "".join(made)

    return fill


def _leaf(source: str) -> Filled:
    """Compile a leaf of JSON: a single expression gives what it is, everything else text. Raises UnitError."""
    match = re.fullmatch(r"\{\{[-+]?(.*?)[-+]?\}\}", source.strip(), re.DOTALL)
    if not match:
        return _text(source)
    tree = parsed(source.strip()).body
    only = tree[0].nodes if len(tree) == 1 and isinstance(tree[0], nodes.Output) else []
    if len(only) != 1 or isinstance(only[0], nodes.TemplateData):
        return _text(source)
    expression = sandbox.compile_expression(match[1].strip(), undefined_to_none=False)

    def fill(names: dict[str, Any]) -> Any:
        value = expression(names)
        if isinstance(value, Undefined):
            str(value)  # raises, and says what is not there
        return value

    return fill


class Rendered(NamedTuple):
    """What is answered."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    """Header fields, without those of framing."""
    body: bytes


class Compiled:
    """An answer, ready to be filled in."""

    def __init__(self, status: int, fields: list[tuple[str, Filled]], body: Callable[[dict[str, Any]], bytes]) -> None:
        self._status, self._fields, self._body = status, fields, body

    def render(self, asked: Asked, ids: Ids, now: float) -> Rendered:
        """Fill it in. `now`: unix seconds. Raises RenderError."""
        try:
            names = {
                "request": asked,
                "id": ids.text(24),
                "uuid": ids.uuid(),
                "random_id": Given(ids.text),
                "now": int(now),
            }
            fields = tuple((name.encode("ascii"), _line(fill(names))) for name, fill in self._fields)
            body = self._body(names)
        except RenderError:
            raise
        except (TemplateError, ValueError, TypeError, ArithmeticError, RecursionError, LookupError) as error:
            raise RenderError(f"{str(error)[:300] or type(error).__name__}") from None
        if len(body) > MAX_BODY:
            raise RenderError(f"the answer would have more than {MAX_BODY:,} bytes")
        return Rendered(self._status, fields, body)


def _line(value: str) -> bytes:
    line = value.encode("utf-8", "replace")
    if re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", line) or len(line) > MAX_HEADER:
        raise RenderError(f"a header field is one line of at most {MAX_HEADER:,} bytes, and {value[:60]!r} is not")
    return line.strip(b" \t")


def compiled(answer: Answer, status: int = 200) -> Compiled:
    """Make an answer ready. `status`: if it says none. Raises UnitError."""
    text = _text if answer.template else _plain
    fields = [
        (name, text(value))
        for name, values in answer.headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    has_body = answer.body_file is not None or answer.body is not None
    if has_body and "content-type" not in {name.lower() for name in answer.headers}:
        fields.append(("content-type", _plain(answer.content_type())))
    return Compiled(answer.status or status, fields, _body(answer))


def _body(answer: Answer) -> Callable[[dict[str, Any]], bytes]:
    content = answer.body
    if answer.body_file is not None:
        raw = read(answer.body_file)
        if not answer.template:
            return lambda _: raw
        try:
            content = raw.decode()
        except UnicodeDecodeError:
            raise UnitError(f"{answer.body_file} is not text: say template: false to send it as it is") from None
    if content is None:
        return lambda _: b""
    if isinstance(content, str):
        filled = _text(content) if answer.template else _plain(content)
        return lambda names: filled(names).encode("utf-8", "replace")
    tree = _tree(content, template=answer.template)
    return lambda names: json.dumps(_fill(tree, names), allow_nan=False, default=_not_json).encode()


def _not_json(value: Any) -> Any:
    raise RenderError(f"JSON has no {type(value).__name__}")


def _tree(value: Any, *, template: bool, depth: int = 0) -> Any:
    """Compile all texts of a JSON value; keys stay as they are."""
    if depth > 50:
        raise UnitError("a body is nested at most 50 deep")
    match value:
        case dict():
            return {str(key): _tree(one, template=template, depth=depth + 1) for key, one in value.items()}
        case list():
            return [_tree(one, template=template, depth=depth + 1) for one in value]
        case str():
            return _leaf(value) if template else _plain(value)
        case float() if not math.isfinite(value):
            raise UnitError(f"a body can't hold {value}: JSON has no such number")
        case None | bool() | int() | float():
            return _plain(value)
    raise UnitError(f"a body can't hold a {type(value).__name__} ({value}): put it into quotes")


def _fill(tree: Any, names: dict[str, Any]) -> Any:
    if isinstance(tree, dict):
        return {key: _fill(one, names) for key, one in tree.items()}
    if isinstance(tree, list):
        return [_fill(one, names) for one in tree]
    return tree(names)
