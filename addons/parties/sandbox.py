"""The sandbox that templates run in. Pure.

Templates are the owner's, what they are filled with is anybody's. So what a template may do is a short list: no call
but of what is given here, no method of any object, no loop in a loop, no loop of more than a thousand rounds, no power
and no repetition. Jinja's own sandbox keeps the rest (jinja.palletsprojects.com, "Sandbox").
"""

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from addons.parties.asked import Asked, Headers
from rules.units import UnitError

MAX_SOURCE = 64 * 1024
"""Characters of one template."""

MAX_ROUNDS = 1000

NAMES = ("request", "id", "uuid", "random_id", "now")
"""What a template knows."""

_NUMBERS = 2**63

_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "e", "escape", "first", "float", "int", "last", "length", "lower"),
    *("max", "min", "round", "string", "sum", "title", "tojson", "trim", "upper", "urlencode"),
)
"""What can't make much of little."""

_TESTS = ("defined", "undefined", "none", "number", "integer", "float", "string", "mapping", "sequence", "boolean")

_NODES = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem),
    *(nodes.Slice, nodes.Call, nodes.Keyword, nodes.Filter, nodes.Test, nodes.If, nodes.For, nodes.Assign),
    *(nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Add, nodes.Sub, nodes.Mul),
    *(nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos, nodes.Concat, nodes.List, nodes.Tuple, nodes.Dict),
    nodes.Pair,
)


class RenderError(Exception):
    """A template could not be filled in with what was asked."""


class Given:
    """What a template may call."""

    def __init__(self, function: Callable[[int], str]) -> None:
        self._function = function

    def __call__(self, length: int = 24) -> str:
        """Call it."""
        return self._function(length)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Where templates run."""

    intercepted_binops = frozenset({"*", "%", "**"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
        self.globals.clear()
        self.filters = {name: FILTERS[name] for name in _FILTERS} | {"_bounded": _bounded}
        self.tests = {name: self.tests[name] for name in _TESTS}
        self.policies["json.dumps_kwargs"] = {"sort_keys": False}

    def is_safe_callable(self, obj: Any) -> bool:
        """Only what a call is given may be called: neither methods of values, nor what they may hold."""
        return isinstance(obj, Given)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Numbers only: ``*`` repeats texts and lists, ``%`` pads texts."""
        if not all(isinstance(one, int | float) for one in (left, right)):
            raise SecurityError(f"{operator} is for numbers here")
        if max(abs(left), abs(right)) > _NUMBERS:
            raise SecurityError(f"{operator} is for numbers below 2^63 here")
        return super().call_binop(context, operator, left, right)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Give what is in there by that name. ``request.json.items`` are the items of the request, not Python's."""
        if isinstance(obj, Undefined):
            return super().getattr(obj, attribute)  # raises, and says what is not there
        if isinstance(obj, Mapping):
            return self.getitem(obj, attribute)
        if isinstance(obj, Asked) and attribute in Asked.NAMES:
            return getattr(obj, attribute)
        if type(obj).__name__ == "LoopContext":
            return super().getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Give what is in there by that name or number."""
        if isinstance(obj, Undefined):
            return super().getitem(obj, argument)
        if isinstance(obj, Headers) and isinstance(argument, str):
            argument = argument.lower()
        if isinstance(obj, Mapping | list | str | tuple):
            try:
                return obj[argument]
            except (LookupError, TypeError, ValueError):
                return self.undefined(obj=obj, name=str(argument))
        return self.getattr(obj, str(argument))


def _bounded(values: Any) -> list[Any]:
    """Give what a loop goes through."""
    if isinstance(values, Undefined):
        str(values)  # raises, and says what is not there
    rounds = list(values)
    if len(rounds) > MAX_ROUNDS:
        raise RenderError(f"a loop has at most {MAX_ROUNDS:,} rounds, and this one would have {len(rounds):,}")
    return rounds


sandbox = _Sandbox()


def parsed(source: str) -> nodes.Template:
    """Read a template, and see to it that it can't do more than it may. Raises UnitError."""
    if len(source) > MAX_SOURCE:
        raise UnitError(f"a template has at most {MAX_SOURCE:,} characters: for a longer body say template: false")
    try:
        tree = sandbox.parse(source)
        _check(tree, in_loop=False)
        unknown = sorted(find_undeclared_variables(tree) - {*NAMES})
        if unknown:
            raise UnitError(f"a template knows no {unknown[0]!r}, but {', '.join(NAMES)}")
        sandbox.compile(tree)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise UnitError(f"template: {error.message}" + (f" (its line {line})" if line else "")) from None
    except RecursionError:
        raise UnitError("template: it is nested too deeply") from None
    return tree


def _check(node: nodes.Node, *, in_loop: bool) -> None:
    if not isinstance(node, _NODES):
        raise UnitError(f"template: {type(node).__name__.lower()} is not possible here (line {node.lineno})")
    match node:
        case nodes.Name(name="self"):
            raise UnitError("template: there is no 'self' here")
        case nodes.Getattr(node=nodes.Name(name="request"), attr=name) if name not in Asked.NAMES:
            raise UnitError(f"template: a request has no {name!r}, but {', '.join(Asked.NAMES)}")
    if isinstance(node, nodes.For):
        if in_loop or node.recursive:
            raise UnitError(f"template: a loop in a loop is not possible here (line {node.lineno})")
        in_loop = True
        for child in node.iter_child_nodes():
            _check(child, in_loop=True)
        node.iter = nodes.Filter(node.iter, "_bounded", [], [], None, None, lineno=node.lineno)
        return
    for child in node.iter_child_nodes():
        _check(child, in_loop=in_loop)
