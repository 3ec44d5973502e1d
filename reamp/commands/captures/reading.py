"""What is to be said of other tools' files when they are read, and what becomes of their secrets."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from captures.exchange.formats import FORMATS, Format, readable
from captures.exchange.intake import Asked
from captures.exchange.logformats import NAMED
from captures.exchange.options import ReadOptions, at_random, evenly
from captures.moments import SECOND, parse
from captures.redaction import DEFAULTS, Redactor, load_key, load_rules
from reamp.commands.captures.exchanging import complete, format_named
from rules.exits import UserError
from rules.units import Rate, UnitError

DEFAULT_KEY = Path(".reamp/redaction.key")

FormatName = Annotated[
    str | None,
    typer.Option("--format", metavar="NAME", help=f"One of {', '.join(readable())}; by default told by content."),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        "--log-format",
        metavar="FORMAT",
        help=f"Of access logs: {', '.join(NAMED)}, json, the format string of nginx ($variables) or "
        "Apache (%directives) as it stands in the server's configuration, or a mapping of JSON keys.",
    ),
]
Authority = Annotated[
    str, typer.Option("--authority", metavar="HOST", help="Host of requests that name none: shop.example.")
]
Scheme = Annotated[str, typer.Option("--scheme", metavar="SCHEME", help="http or https, where the file does not say.")]
TimesRate = Annotated[
    str | None,
    typer.Option("--rate", metavar="RATE", help="How close together, for formats without times; by default 1/s."),
]
TimesStart = Annotated[
    str | None,
    typer.Option("--start", metavar="TIME", help="When the first came, for formats without times; by default now."),
]
RedactionKey = Annotated[
    Path, typer.Option("--redaction-key", metavar="FILE", help="Key of the pseudonyms; made if missing.")
]
RedactionRules = Annotated[
    Path | None, typer.Option("--redaction-rules", metavar="FILE", help="What else is a secret, or none (YAML).")
]
NoRedaction = Annotated[bool, typer.Option("--no-redaction", help="Keep secrets as they are.")]


def asked_of(
    format_: str | None, log_format: str | None, authority: str, scheme: str, rate: str | None, start: str | None
) -> Asked:
    """Understand what was said of the files. Raises UserError."""
    options = ReadOptions(evenly(*_start_and_rate(rate, start)), authority, _scheme(scheme), log_format or "")
    times_given = rate is not None or start is not None
    return Asked(options, _chosen(format_, log_format), times_given=times_given, complete=complete)


def asked_for_incident(asked: Asked, rate: str | None, start: str | None, seed: int) -> Asked:
    """Give the same, but with arrivals that are drawn where they are not known. Raises UserError."""
    options = asked.options._replace(times=at_random(*_start_and_rate(rate, start), seed), seed=seed)
    return asked._replace(options=options, times_given=rate is not None, times_needed=True)


def redactor_of(key: Path, rules: Path | None, *, no_redaction: bool) -> Redactor | None:
    """Make what replaces secrets; None, with a warning, if nothing is to be replaced. Raises UserError."""
    if no_redaction:
        typer.echo("warning: nothing is redacted: passwords, tokens and cookies go into the capture", err=True)
        return None
    return Redactor(load_key(key), DEFAULTS if rules is None else load_rules(rules))


def described(redactor: Redactor | None) -> dict[str, Any]:
    """Say for a header what was replaced."""
    return redactor.describe() if redactor else {"headers": [], "method": "none: --no-redaction"}


def _chosen(name: str | None, log_format: str | None) -> Format | None:
    chosen = None if name is None else format_named(name, readable(), "--format")
    if log_format is None:
        return chosen
    if chosen is not None and chosen.name != "log":
        raise UserError(f"--log-format is for access logs, and --format says {chosen.name}")
    return FORMATS["log"]


def _scheme(scheme: str) -> str:
    if scheme not in {"http", "https"}:
        raise UserError(f"--scheme: {scheme!r} is neither http nor https")
    return scheme


def _start_and_rate(rate: str | None, start: str | None) -> tuple[int, float]:
    """Say when what has no times begins, and at which rate. Raises UserError."""
    try:
        per_second = 1.0 if rate is None else float(Rate.parse(rate))
    except UnitError as error:
        raise UserError(f"--rate: {error}") from None
    if per_second <= 0:
        raise UserError("--rate: at this rate nothing ever comes")
    try:
        begin = time.time_ns() // SECOND * SECOND if start is None else parse(start)
    except ValueError as error:
        raise UserError(f"--start: {error}") from None
    return begin, per_second
