"""What is to be replaced: the rules that are built in, and a file that adds to them or stands instead.

Pure but for `load_rules`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from captures.errors import CaptureError
from captures.redaction import names
from captures.redaction.patterns import DEFAULT, LONGEST_PATTERN, Pattern, compiled
from rules.files import read_small

LARGEST_FILE = 64 << 10
"""Bytes of a rule file."""

_MOST = 500
"""Entries of one list."""


def _name_pattern(pattern: str) -> str:
    bare = pattern.removeprefix("!").strip()
    if not bare.strip("*-_ "):
        if bare == "*":
            return pattern
        raise ValueError("a name pattern needs at least one letter or digit (or is * alone)")
    if len(bare) > 100:
        raise ValueError("a name pattern has at most 100 characters")
    return pattern


NamePattern = Annotated[str, AfterValidator(_name_pattern)]
NameList = Annotated[list[NamePattern], Field(max_length=_MOST)]


class OwnPattern(BaseModel):
    """A regular expression of one's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", description="what audit and error messages call it")
    regex: str = Field(
        "",
        max_length=LONGEST_PATTERN,
        description="in RE2's syntax; without one it is the one built in by this name",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.regex:
            if self.name not in PATTERN_NAMES:
                raise ValueError(f"without a regex the name has to be one of {', '.join(PATTERN_NAMES)}")
            return self
        raw = self.regex.encode()
        regex = compiled(raw)
        if regex.search(b""):
            raise ValueError("regex: it matches nothing at all, and so would everywhere")
        if any(piece in (rb"^", rb"$", rb"\A", rb"\z", rb"\Z") for piece in _PIECE.findall(raw)):
            raise ValueError(
                r"regex: no ^ $ \A \z: a secret may stand anywhere in a text. Use \b for the edge of a word"
            )
        return self


_PIECE = re.compile(rb"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)


class Keep(BaseModel):
    """What stays as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    headers: NameList = Field([], description="names of headers")
    cookies: NameList = Field([], description="names of cookies")
    query: NameList = Field([], description="names of query parameters")
    fields: NameList = Field([], description="names of fields in bodies")
    patterns: Annotated[list[str], Field(max_length=_MOST)] = Field([], description="patterns that are not used")
    values: Annotated[list[str], Field(max_length=_MOST)] = Field(
        [], description="values that are no secret, as 4242424242424242"
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name in self.patterns:
            if name not in PATTERN_NAMES:
                raise ValueError(f"patterns: there is no {name!r}, only {', '.join(PATTERN_NAMES)}")
        return self


PATTERN_NAMES = tuple(pattern.name for pattern in DEFAULT)


class Rules(BaseModel):
    """A rule file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    extends: Literal["defaults", "nothing"] = Field("defaults", description="add to the rules built in, or stand alone")
    headers: NameList = Field([], description="names of headers whose values are replaced")
    cookies: NameList = Field([], description="names of cookies whose values are replaced")
    query: NameList = Field([], description="names of query parameters; those of fields count here too")
    fields: NameList = Field([], description="names of fields in JSON, forms, multipart and XML")
    patterns: Annotated[list[OwnPattern], Field(max_length=50)] = Field([], description="what is secret by its looks")
    keep: Keep = Field(default_factory=Keep, description="what stays as it is")

    def header_names(self) -> tuple[str, ...]:
        """All name patterns for headers."""
        return (*self._given(names.HEADERS), *self.headers, *_spared(self.keep.headers))

    def cookie_names(self) -> tuple[str, ...]:
        """All name patterns for cookies."""
        return (*self._given(names.COOKIES), *self.cookies, *_spared(self.keep.cookies))

    def field_names(self) -> tuple[str, ...]:
        """All name patterns for fields."""
        return (*self._given(names.FIELDS), *self.fields, *_spared(self.keep.fields))

    def query_names(self) -> tuple[str, ...]:
        """All name patterns for query parameters."""
        return (*self.field_names(), *self.query, *_spared(self.keep.query))

    def free_patterns(self) -> tuple[Pattern, ...]:
        """All patterns, those built in first."""
        known = DEFAULT if self.extends == "defaults" else ()
        wanted = {own.name for own in self.patterns if not own.regex} | {pattern.name for pattern in known}
        built_in = (each for each in DEFAULT if each.name in wanted and each.name not in self.keep.patterns)
        return (*built_in, *(Pattern(own.name, own.regex.encode()) for own in self.patterns if own.regex))

    def spared_values(self) -> frozenset[bytes]:
        """Values that are no secret."""
        return frozenset(value.encode() for value in self.keep.values)

    def _given(self, known: tuple[str, ...]) -> tuple[str, ...]:
        return known if self.extends == "defaults" else ()


def _spared(kept: list[str]) -> Iterator[str]:
    return (f"!{name.removeprefix('!')}" for name in kept)


DEFAULTS = Rules()


def load_rules(path: Path) -> Rules:
    """Read a rule file. Raises CaptureError that names the line."""
    try:
        raw = read_small(path, LARGEST_FILE, f"more than {LARGEST_FILE >> 10} KiB")
    except OSError as error:
        raise CaptureError(f"redaction rules {path}: {error.strerror}") from None
    return parse_rules(raw, str(path))


def parse_rules(raw: bytes, source: str) -> Rules:
    """Make rules of YAML. Raises CaptureError that names `source` and the line."""
    import yaml  # noqa: PLC0415 - every worker of a sidecar loads this module, and few have such a file

    try:
        text = raw.decode("utf-8-sig")
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
                line = token.start_mark.line + 1
                raise CaptureError(f"redaction rules {source}, line {line}: put what begins with * or & in quotes")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        given = yaml.safe_load(text)
    except UnicodeDecodeError:
        raise CaptureError(f"redaction rules {source}: this is not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise CaptureError(
            f"redaction rules {source}{line}: {error.problem} (put what begins with * or & in quotes)"
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise CaptureError(f"redaction rules {source}: {error}") from None
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise CaptureError(
            f"redaction rules {source}: it has to be a map, as `reamp captures audit --show-rules` prints"
        )
    try:
        return Rules.model_validate(given)
    except ValidationError as error:
        lines = [
            f"redaction rules {source}, line {_line(node, problem['loc'])}: "
            f"{'.'.join(map(str, problem['loc'])) or 'rules'}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        ]
        raise CaptureError("\n".join(lines[:10])) from None


def _line(node: Any, place: tuple[int | str, ...]) -> int:
    """Give the line, from 1, of a value in a YAML document, or of the innermost thing around it that is there."""
    line = node.start_mark.line
    for step in place:
        found = None
        if node.id == "mapping":
            found = next(((key, value) for key, value in node.value if key.value == step), None)
        elif node.id == "sequence" and isinstance(step, int) and step < len(node.value):
            found = (node.value[step], node.value[step])
        if found is None:
            break
        line, node = found[0].start_mark.line, found[1]
    return int(line) + 1
