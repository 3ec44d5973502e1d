"""Settings in layers: `reamp.yaml`, then the environment, then flags; the last one that speaks wins."""

import difflib
import keyword
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from rules.exits import UserError

CONFIG_FILE = Path("reamp.yaml")
SECTIONS = {"replay", "sidecar"}


def effective[M: BaseModel](
    model: type[M],
    section: str,
    flags: Mapping[str, Any],
    file: Path | None = None,
    options: Mapping[str, str] | None = None,
) -> M:
    """Build `model` from section `section` of the configuration file, ``REAMP_<SECTION>_*`` and `flags`.

    Flags that are None were not given. `file` None means `reamp.yaml` where there is one. `options` names those whose
    option is not called as the setting. Raises UserError with one line for each wrong value, naming where it came from.
    """
    given = {name: value for name, value in flags.items() if value is not None and value != []}
    from_file = _section(model, section, file)
    prefix = f"REAMP_{section.upper()}_"

    layered = type("Layered", (BaseSettings, model), {"model_config": SettingsConfigDict(env_prefix=prefix)})
    merged = _from_environment(layered, model, prefix)
    try:
        return model.model_validate({**from_file, **merged, **given})
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name = ".".join(str(part).rstrip("_") for part in problem["loc"])
            top = str(problem["loc"][0]) if problem["loc"] else ""
            option = (options or {}).get(top, "--" + name.replace("_", "-"))
            origin = (
                option
                if top in given
                else prefix + name.upper()
                if top in merged
                else f"{section}.{name} in {file or CONFIG_FILE}"
                if top in from_file
                else option
            )
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "string_type" and top in from_file and not isinstance(problem["input"], list | dict):
                message = "YAML takes this for something else than text: put it into quotes"
            lines.append(f"{origin}: {message}" if name else message)
        raise UserError("\n".join(lines)) from None


class _Environment(EnvSettingsSource):
    """Lists are written as people write them in a shell: separated by commas."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Read one value that is not plain text."""
        text = str(value).strip()
        if text.startswith(("[", "{")):
            return super().decode_complex_value(field_name, field, value)
        return [part.strip() for part in text.split(",") if part.strip()]


def _from_environment(layered: type[BaseSettings], model: type[BaseModel], prefix: str) -> dict[str, Any]:
    source, lower = _Environment(layered), prefix.lower()
    for name in os.environ:
        setting = _attribute(name.removeprefix(prefix).lower())
        if name.startswith(prefix) and setting not in model.model_fields:
            raise UserError(f"{name}: there is no such setting" + _meant(setting, model))
    source.env_vars = {
        lower + _attribute(name.removeprefix(lower)) if name.startswith(lower) else name: value
        for name, value in source.env_vars.items()
    }
    try:
        return source()
    except SettingsError as error:
        raise UserError(f"the environment: {error}: write lists like a,b") from None


def _attribute(name: str) -> str:
    """Give the field of a setting: where its name is a word of Python's own, the field has an underscore after it."""
    return f"{name}_" if keyword.iskeyword(name) else name


def _meant(name: str, model: type[BaseModel]) -> str:
    close = difflib.get_close_matches(name, [field.rstrip("_") for field in model.model_fields], 1)
    return f": did you mean {close[0]!r}?" if close else ""


def _section(model: type[BaseModel], section: str, file: Path | None) -> dict[str, Any]:
    if file is None and not CONFIG_FILE.exists():
        return {}
    path = file or CONFIG_FILE
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise UserError(f"{path}: {os.strerror(error.errno or 0)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    if not isinstance(content, dict) or not set(content) <= SECTIONS:
        raise UserError(f"{path}: it has to consist of the sections {' and '.join(sorted(SECTIONS))}")
    values = content.get(section) or {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: {section} has to be a mapping of settings to values")
    values = {_attribute(str(key).replace("-", "_")): value for key, value in values.items()}
    for key in values:
        if key not in model.model_fields:
            raise UserError(f"{path}: {section} has no setting {key!r}" + _meant(key, model))
    return values
