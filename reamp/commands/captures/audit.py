"""`reamp captures audit`: hunt for what looks like a secret."""

from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.text import Text

from captures.audit import Audit
from captures.audit import audit as audit_records
from captures.moments import iso
from captures.redaction import DEFAULTS, Rules, load_rules
from captures.rendering import printable
from reamp.commands.captures.shared import (
    DEFAULT,
    AsJson,
    Identity,
    Where,
    complain,
    new_table,
    open_capture,
    to_console,
    told,
)
from rules.exits import Exit

_WORDS = {"name": "by its name", "pattern": "by its looks", "random": "looks random", "unreadable": "unreadable"}


def audit(
    folder: Where = DEFAULT,
    rules: Annotated[
        Path | None,
        typer.Option("--redaction-rules", metavar="FILE", help="Look by these rules instead of those built in."),
    ] = None,
    show_rules: Annotated[
        bool, typer.Option("--show-rules", help="Print the rules, as a rule file would have them, and end.")
    ] = False,
    as_json: AsJson = False,
    identity: Identity = None,
) -> None:
    """Hunt a capture for what looks like a secret. Exits with 1 if there is anything.

    Looks by the rules that redact (names and patterns), and for values that look drawn by lot. Pseudonyms are none.
    Samples are masked. What the columns mean, and what cannot be found: docs/redaction.md

    Examples:

        reamp captures audit ./recordings

        reamp captures audit ./recordings --redaction-rules rules.yaml --json | jq '.groups[].place'

        reamp captures audit --show-rules > rules.yaml
    """
    chosen = DEFAULTS if rules is None else load_rules(rules)
    if show_rules:
        typer.echo(rules_text(chosen), nl=False)
        return
    capture = open_capture(folder, identity)
    report = audit_records(told(capture.records(), capture.count), chosen)
    complain(capture)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _print(report)
    if report.findings:
        raise typer.Exit(int(Exit.FAILED))


def rules_text(rules: Rules) -> str:
    """Give rules as a file that stands alone: all that is built in written out."""
    names = {
        "headers": list(rules.header_names()),
        "cookies": list(rules.cookie_names()),
        "query": [name for name in rules.query_names() if name not in rules.field_names()],
        "fields": list(rules.field_names()),
    }
    own = {each.name: each.regex for each in rules.patterns if each.regex}
    patterns = [
        {"name": each.name} | ({"regex": own[each.name]} if each.name in own else {}) for each in rules.free_patterns()
    ]
    keep = {"values": rules.keep.values}
    everything = {"extends": "nothing", **names, "patterns": patterns, "keep": keep}
    body = yaml.safe_dump(
        everything,
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )
    return (
        "# All rules, written out. To add to those built in, begin a file of your own with `extends: defaults`.\n"
        f"# A pattern without a regex is built in.\n{body}"
    )


def _print(report: Audit) -> None:
    console = to_console()
    if report.groups:
        table = new_table()
        table.add_column("endpoint", overflow="fold")
        table.add_column("place", overflow="fold")
        table.add_column("found", overflow="fold")
        table.add_column("count", justify="right", no_wrap=True)
        table.add_column("first", no_wrap=True)
        table.add_column("sample", overflow="fold")
        for group in report.groups:
            rule = f"{_WORDS[group.kind]}: {group.rule}" if group.rule else _WORDS[group.kind]
            table.add_row(
                Text(printable(f"{group.method} {group.path}")),
                Text(printable(group.place)),
                Text(printable(rule)),
                f"{group.count:,}",
                f"{group.first_record} ({iso(group.first_ns)[:19]})",
                Text(printable(group.sample)),
            )
        console.print(table)
    if report.not_listed:
        console.print(f"{report.not_listed:,} more findings, of kinds that are not listed")
    share = f"{report.findings:,} findings in {report.records_with_findings:,} of {report.records:,} records"
    words = share if report.findings else f"nothing found in {report.records:,} records"
    console.print(Text(words, style="red" if report.findings else "green"))
