"""Settings that stand in the environment, as pydantic-settings reads them."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from rules.exits import UserError


class _Environment(EnvSettingsSource):
    """Lists are written as people write them in a shell: separated by commas."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Read one value that is not plain text."""
        text = str(value).strip()
        if text.startswith(("[", "{")):
            return super().decode_complex_value(field_name, field, value)
        return [part.strip() for part in text.split(",") if part.strip()]


def read(model: type[BaseModel], prefix: str, attribute: Callable[[str], str]) -> dict[str, Any]:
    """Give what variables that begin with `prefix` say of `model`. `attribute` gives the field of a setting.

    Raises UserError.
    """
    layered = type("Layered", (BaseSettings, model), {"model_config": SettingsConfigDict(env_prefix=prefix)})
    source, lower = _Environment(layered), prefix.lower()
    source.env_vars = {
        lower + attribute(name.removeprefix(lower)) if name.startswith(lower) else name: value
        for name, value in source.env_vars.items()
    }
    try:
        return source()
    except SettingsError as error:
        raise UserError(f"the environment: {error}: write lists like a,b") from None
