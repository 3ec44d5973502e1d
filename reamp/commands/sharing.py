"""A command that takes all that others take, without saying it again."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol


class Sharing(Protocol):
    """A command whose first parameter is what it was given of the other's parameters, by their names."""

    def __call__(self, given: Mapping[str, Any], /, **own: Any) -> None:
        """Run it."""


def with_options_of(
    other: Callable[..., None], but: Collection[str] = (), *more: tuple[Callable[..., None], Collection[str]]
) -> Callable[[Any], Callable[..., None]]:
    """Give a command the parameters of `other`, except those named in `but`, and after them its own.

    `more` are other commands still, and what not to take of each; no two may have a parameter of the same name. Typer
    reads a function's signature; so this writes one.
    """
    theirs = [
        each
        for command, without in ((other, but), *more)
        for name, each in inspect.signature(command).parameters.items()
        if name not in without
    ]

    def decorated(command: Sharing) -> Callable[..., None]:
        _, *mine = inspect.signature(command).parameters.values()

        def shared(**given: Any) -> None:
            own = {each.name: given.pop(each.name) for each in mine}
            command(given, **own)

        shared.__name__, shared.__doc__ = getattr(command, "__name__", "shared"), command.__doc__
        parameters = [*theirs, *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in mine)]
        shared.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return shared

    return decorated
