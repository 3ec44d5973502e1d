"""Settings in layers: `reamp.yaml`, then the environment, then flags; the last one that speaks wins."""

import difflib
import keyword
import os
import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from rules.exits import UserError
from rules.units import Written

CONFIG_FILE = Path("reamp.yaml")
SECTIONS = {"drill", "replay", "sidecar"}

_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
"""What the library calls a bound, and what people do."""


def effective[M: BaseModel](
    model: type[M],
    section: str,
    flags: Mapping[str, Any],
    file: Path | None = None,
    options: Mapping[str, str] | None = None,
    but: Container[str] = (),
) -> M:
    """Build `model` from section `section` of the configuration file, ``REAMP_<SECTION>_*`` and `flags`.

    Flags that are None were not given. `file` None means `reamp.yaml` where there is one. `options` names those whose
    option is not called as the setting. What file and environment say of the settings in `but` is for another command.
    Raises UserError with one line for each wrong value, naming where it came from.
    """
    given = {name: value for name, value in flags.items() if value is not None and value != []}
    prefix = f"REAMP_{section.upper()}_"
    from_file, merged = (
        {name: value for name, value in said.items() if name not in but}
        for said in (_section(model, section, file), _from_environment(model, prefix))
    )
    try:
        return model.model_validate({**from_file, **merged, **given})
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            loc = (*problem["loc"], *getattr(problem.get("ctx", {}).get("error"), "at", ()))
            name = ".".join(str(part).rstrip("_") for part in loc)
            top = str(problem["loc"][0]) if problem["loc"] else ""
            setting = name.partition(".")[0]  # whichever of a list it is, the option and the variable are one
            option = (options or {}).get(top, "--" + setting.replace("_", "-"))
            origin = (
                option
                if top in given
                else prefix + setting.upper()
                if top in merged
                else f"{section}.{name} in {file or CONFIG_FILE}{_line(file or CONFIG_FILE, section, loc)}"
                if top in from_file
                else option
            )
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] in _BOUNDS:
                names = [part for part in problem["loc"] if isinstance(part, str)]
                message = _bound(problem["type"], problem["ctx"], _quantity(model, names))
            elif problem["type"] in ("tuple_type", "list_type"):
                message = "it has to be a list"
            if problem["type"] == "missing" and top in model.model_fields and len(problem["loc"]) == 1:
                message = f"give it, the {model.model_fields[top].description}"
            elif problem["type"] == "extra_forbidden":
                message = f"there is no {problem['loc'][-1]!r} here"
            elif problem["type"] != "value_error" and "." not in origin:
                # The library's own words, unlike ours, do not say what they are about; an origin in a file does.
                part = ".".join(part for part in problem["loc"][1:] if isinstance(part, str))
                message = f"{part}: {message}" if part else message
            if problem["type"] == "string_type" and top in from_file and not isinstance(problem["input"], list | dict):
                message = "YAML takes this for something else than text: put it into quotes"
            if not name:
                # Who gave one of two options that exclude each other has to be told where the other one stands.
                spoken = {(options or {}).get(key, "--" + key.rstrip("_").replace("_", "-")): key for key in from_file}
                there = [o for o, key in spoken.items() if re.search(rf"{o}(?![\w-])", message) and key not in given]
                message += f" ({', '.join(there)}: from {file or CONFIG_FILE})" if there else ""
            lines.append(f"{origin}: {message}" if name else message)
        raise UserError("\n".join(lines)) from None


def _from_environment(model: type[BaseModel], prefix: str) -> dict[str, Any]:
    lower = prefix.lower()
    if not any(name.lower().startswith(lower) for name in os.environ):
        return {}  # mostly so, and the library that reads them takes a quarter of the time to start a command
    for name in os.environ:
        setting = _attribute(name.removeprefix(prefix).lower())
        if name.startswith(prefix) and setting not in model.model_fields:
            raise UserError(f"{name}: there is no such setting" + _meant(setting, model))
    from reamp.environment import read  # noqa: PLC0415 - see above

    return read(model, prefix, _attribute)


def _bound(kind: str, context: Mapping[str, Any], quantity: type[Any] | None) -> str:
    """Say a bound as people write such a quantity: the library tells 1000000 for 100%."""
    name, words = _BOUNDS[kind]
    return f"it has to be {words} {quantity(context[name]) if quantity else context[name]}"


def _quantity(annotation: Any, names: Sequence[str]) -> type[Written] | None:
    """Find what a setting, or one inside of it, is written as; None: as a plain number."""
    for each in (annotation, *get_args(annotation)):
        if not isinstance(each, type):
            continue
        if not names and issubclass(each, Written):
            return each
        if names and issubclass(each, BaseModel) and names[0] in each.model_fields:
            return _quantity(each.model_fields[names[0]].annotation, names[1:])
    return None


def _attribute(name: str) -> str:
    """Give the field of a setting: where its name is a word of Python's own, the field has an underscore after it."""
    return f"{name}_" if keyword.iskeyword(name) else name


def _meant(name: str, model: type[BaseModel]) -> str:
    close = difflib.get_close_matches(name, [field.rstrip("_") for field in model.model_fields], 1)
    return f": did you mean {close[0]!r}?" if close else ""


def _line(file: Path, section: str, loc: Sequence[int | str]) -> str:
    """Tell the line of a value inside a list or a mapping of settings, where its name alone is hard to find."""
    if len(loc) < 2:
        return ""
    import yaml  # noqa: PLC0415 - it was needed to read the file

    try:
        node = yaml.compose(file.read_text(), yaml.SafeLoader)
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return ""  # it has changed meanwhile
    line = None
    for part in (section, *loc):
        found = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if _attribute(str(key.value).replace("-", "_")) == _attribute(str(part).replace("-", "_")):
                    found, line = value, key.start_mark.line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            line = found.start_mark.line
        if found is None:
            break
        node = found
    return "" if line is None else f", line {line + 1}"


def _section(model: type[BaseModel], section: str, file: Path | None) -> dict[str, Any]:
    if file is None and not CONFIG_FILE.exists():
        return {}
    import yaml  # noqa: PLC0415 - who has no such file does not need it

    path = file or CONFIG_FILE
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno or 0)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        hint = ""
        if re.search(r"(undefined|expected) alias|while scanning an alias|unhashable", str(error)):
            hint = "\n(a value that begins with * or { has to stand in quotes: '*.example.com', '{{ id }}')"
        raise UserError(f"{path} is not YAML: {error}{hint}") from None
    if not isinstance(content, dict) or not set(content) <= SECTIONS:
        raise UserError(f"{path}: it has to consist of the sections {', '.join(sorted(SECTIONS))}")
    values = content.get(section) or {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: {section} has to be a mapping of settings to values")
    values = {_attribute(str(key).replace("-", "_")): value for key, value in values.items()}
    for key in values:
        if key not in model.model_fields:
            raise UserError(f"{path}: {section} has no setting {key!r}" + _meant(key, model))
    return values
