"""What the owner wrote of third parties: which answers synthetic calls get, by host, path and method.

Pure, but for `Answer.body_file`, which has to be readable when rules are read: a sidecar that finds that out at the
first charge would have charged.
"""

import mimetypes
import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from addons.parties.places import ListedError, Place
from rules.files import read_small
from rules.units import Duration, Share, UnitError

Action = Literal["pass", "block", "stub"]

MAX_BODY = 1 << 20
"""Bytes of an answer."""

MAX_RULES = 200

MAX_SIZE = 256 * 1024
"""Characters of all rules: they go to the egress's process in one line (`addons.processes.orders.MAX_LINE`)."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_BREAKS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING = {"content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "trailer", "te"}
_BODILESS = (204, 205, 304)


class Latency(BaseModel):
    """How long an answer takes: a duration, or the median and the 99th percentile of a log-normal distribution."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    p50: Duration = Field(gt=0, description="half of the answers take less")
    p99: Duration | None = Field(None, gt=0, description="a hundredth takes more; none: all take the same")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        if isinstance(given, dict | cls):
            return given
        return {"p50": given}

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.p99 is not None and self.p99 < self.p50:
            raise UnitError(f"p99 of {self.p99} is less than p50 of {self.p50}: a 99th percentile is not")
        if max(self.p50, self.p99 or 0) > 600:
            raise UnitError("nobody waits for longer than 10m: give less")
        return self


class Answer(BaseModel):
    """What is answered in the place of a third party."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: int | None = Field(None, ge=200, le=599, description="status")
    headers: dict[str, str | list[str]] = Field({}, description="header fields; a list is several of one name")
    body: Any = Field(None, description="text as it is, or a mapping or list that is sent as JSON")
    body_file: Path | None = Field(None, description="file with the body")
    template: bool = Field(True, description="whether {{ ... }} in texts is filled in")

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
        for name, values in headers.items():
            if not _TOKEN.fullmatch(name):
                raise UnitError(f"{name!r} is not the name of a header field")
            if name.lower() in _FRAMING:
                raise UnitError(f"{name}: leave it out, for it follows from the body and the connection")
            for value in [values] if isinstance(values, str) else values:
                if _BREAKS.search(value):
                    raise UnitError(f"{name}: a header field is one line")
        return headers

    @field_validator("body_file")
    @classmethod
    def _is_readable(cls, file: Path | None) -> Path | None:
        if file is not None:
            read(file)
        return file

    @model_validator(mode="after")
    def _has_one_body(self) -> Self:
        if self.body is not None and self.body_file is not None:
            raise UnitError("an answer has a body or a body_file, not both")
        if self.status in _BODILESS and (self.body not in (None, "") or self.body_file is not None):
            raise UnitError(f"an answer with status {self.status} has no body: leave it out")
        if self.said:
            from addons.parties.template import compiled  # noqa: PLC0415 - an engine, for those who have rules

            compiled(self)
        return self

    @property
    def said(self) -> bool:
        """Whether anything is said of the answer."""
        return bool({"status", "headers", "body", "body_file", "template"} & self.model_fields_set)

    def content_type(self) -> str:
        """Give the type of the body, unless the headers say it."""
        if self.body_file is not None:
            return mimetypes.guess_type(self.body_file.name)[0] or "application/octet-stream"
        if not isinstance(self.body, str) or re.match(r"\s*(?:[\[\"]|\{(?![{%#]))", self.body):
            return "application/json"
        return "text/plain; charset=utf-8"


def read(file: Path) -> bytes:
    """Read a body. Raises UnitError."""
    try:
        return read_small(file, MAX_BODY, f"larger than {MAX_BODY:,} bytes: an answer has at most so many")
    except OSError as error:
        raise UnitError(f"{file}: {error.strerror}") from None


class PartyRule(Answer):
    """What happens to the synthetic calls that it matches."""

    match: Place = Field(description="HOST[:PORT][/PATH], with * for anything")
    method: tuple[str, ...] = Field((), description="method, or a list of them; none: all")
    action: Action = Field(description="pass: the call goes out. block: it is refused. stub: it is answered here")
    latency: Latency | None = Field(None, description="how long the answer takes")
    error_share: Share = Field(Share(0), le=1_000_000, description="share of calls that get `error` instead")
    error: Answer | None = Field(None, description="the answer of those; 503 unless it says so")
    idempotency: str = Field(
        "idempotency-key", description="request header whose value stands for one answer; empty: none does"
    )

    @model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, given: Any) -> Any:
        if not isinstance(given, dict | cls):
            raise UnitError("a rule for third parties is a mapping in reamp.yaml, at least of match and action")
        return given

    @field_validator("method", mode="before")
    @classmethod
    def _are_methods(cls, method: Any) -> Any:
        given = [method] if isinstance(method, str) else method
        if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given) or not given:
            raise UnitError("write a method like POST, or a list like [POST, PUT]")
        for one in given:
            if not _TOKEN.fullmatch(one):
                raise UnitError(f"{one!r} is not a method: write it like POST")
        return tuple(one.upper() for one in given)

    @field_validator("idempotency")
    @classmethod
    def _is_header(cls, name: str) -> str:
        if name and not _TOKEN.fullmatch(name):
            raise UnitError(f"{name!r} is not the name of a header field")
        return name.lower()

    @model_validator(mode="after")
    def _says_what_it_does(self) -> Self:
        given = self.model_fields_set
        stubs = [name for name in ("error_share", "error", "idempotency") if name in given]
        if self.action == "pass" and (self.said or stubs or "latency" in given):
            extra = sorted(given - {"match", "method", "action"})
            raise UnitError(f"with action: pass the third party answers itself: leave out {', '.join(extra)}")
        if self.action == "block" and stubs:
            raise UnitError(f"with action: block every call is refused: leave out {', '.join(stubs)}, or say stub")
        if self.error is not None and not self.error_share:
            raise UnitError("an error that no call gets: say how many do, like error_share: 1%")
        return self

    def covers(self, other: "PartyRule") -> bool:
        """Whether nothing is left for a rule that comes after this one."""
        methods = not self.method or (bool(other.method) and set(other.method) <= set(self.method))
        return methods and self.match.covers(other.match)


def check(rules: tuple[PartyRule, ...]) -> tuple[PartyRule, ...]:
    """Give the rules back if all of them can come to something. Raises UnitError."""
    if len(rules) > MAX_RULES:
        raise UnitError(f"there are {len(rules):,} rules: at most {MAX_RULES:,} are possible")
    if sum(len(rule.model_dump_json(exclude_unset=True)) for rule in rules) > MAX_SIZE:
        raise UnitError(
            f"all rules together have more than {MAX_SIZE:,} characters: put long bodies into files, and name those"
            " with body_file"
        )
    for number, rule in enumerate(rules):
        for before in rules[:number]:
            if before.covers(rule):
                raise ListedError(
                    number,
                    f"no call ever comes to this rule for {rule.match}: the one for {before.match} before it takes all."
                    " The first that fits counts, so put the narrower one first",
                )
    return rules
