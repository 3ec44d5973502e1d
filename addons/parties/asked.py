"""A request as templates see it. Pure. Nothing is read before somebody asks for it, and what can't be is not there."""

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import StrictUndefined

from addons.parties.places import path

MAX_ASKED = 256 * 1024
"""Bytes of a request's body that are looked at."""

MAX_FIELDS = 1000
"""Fields of a form or query; of more, none."""


class Asked:
    """One request."""

    def __init__(self, method: str, host: str, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """`body`: at most `MAX_ASKED` bytes of it are looked at; of what is longer, only the text."""
        self.method, self.host = method, host
        self._target, self._fields, self._body = target, headers, body

    NAMES = ("method", "host", "path", "segments", "query", "headers", "text", "form", "json")

    @cached_property
    def path(self) -> str:
        """The path without its query, percent-decoded."""
        return path(self._target).text

    @cached_property
    def segments(self) -> list[str]:
        """The parts of the path between its slashes."""
        return self.path.strip("/").split("/")

    @cached_property
    def query(self) -> dict[str, str]:
        """The fields of the query; of several of one name the first."""
        return _form(self._target.partition("?")[2])

    @cached_property
    def headers(self) -> "Headers":
        """The header fields; of several of one name the first."""
        return Headers((name.lower(), value) for name, value in reversed(list(self._fields)))

    @cached_property
    def text(self) -> str:
        """The body as text."""
        return self._body[:MAX_ASKED].decode("utf-8", "replace")

    @cached_property
    def form(self) -> dict[str, str]:
        """The fields of a form (application/x-www-form-urlencoded); of several of one name the first."""
        return _form(self.text) if len(self._body) <= MAX_ASKED else {}

    @cached_property
    def json(self) -> Any:
        """What the body says as JSON."""
        if len(self._body) > MAX_ASKED:
            return StrictUndefined("request.json: the body is too long")
        try:
            return json.loads(self.text, parse_constant=_no_number)
        except (ValueError, RecursionError):
            return StrictUndefined("request.json: the body is not JSON")


class Headers(dict[str, str]):
    """Header fields by name, in any case."""


def _no_number(_: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


def _form(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="replace")
    except ValueError:  # too many
        return {}
    return dict(reversed(pairs))
