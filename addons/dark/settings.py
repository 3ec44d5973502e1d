"""What the aide has to know, as the supervisor tells it."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """One reading of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """Scheme, host and port of the dark service."""
    name: str
    host: str = ""
    """The Host of copies; empty: as the client named it."""
    secrets: bool = True
    timeout: float
    at_once: int
    per_second: float | None = None
    compare: tuple[str, ...] = ()
