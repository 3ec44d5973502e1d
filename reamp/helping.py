"""Commands whose ``--help`` says what to write behind an option, and nothing where nothing belongs."""

from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """A command of ours. Each argument and option names its own value (``metavar``); flags have none."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Give the parameters, without the types that the library shows of them (`<bool>`, `<path>`)."""
        params: list[Any] = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False) and param.metavar is None:
                param.metavar = ""
            if param.param_type_name == "argument":
                param.display_type_rich = lambda ctx: None  # noqa: ARG005 - called by this name
        return params
