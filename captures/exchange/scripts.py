"""What load scripts for other tools have in common: their heads, their tables, the schedule in JavaScript. Pure."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

from captures.exchange.mix import MARK, Example, Mix, Route
from captures.exchange.options import WriteOptions
from captures.exchange.schedule import Share, Stage, share
from captures.moments import iso
from rules.units import MILLION

ELSEWHERE = "http://127.0.0.1:8000"

_HEAD = """\
@/@ A load test for @TOOL@, made by reamp of the recording @NAME@
@/@ (@TOTAL@ requests@AMPLIFIED@, @FIRST@ to @LAST@).
@/@
@RUNNING@
@/@
@/@ What is kept: in each of @STAGES@ stages of @SECONDS@ s, the number of requests to each route, exactly.
@/@ What is not: the moments within a stage (they are spaced evenly), who came after whom, and of each route all but a
@/@ drawn sample of requests. Secrets are pseudonyms if the recording was redacted. Host is that of BASE_URL.
@OWN@
@MARKED@@/@ Nothing holds this load under reamp's ceiling: keep it off production.@UNSAFE@"""

_MARKED = """\
@/@ Each request names the run in its header x-load-test (RUN=... sets it), and has @MARK@ in its baggage.
@/@ Neither is signed: logs and traces may tell this load by them, but nobody can trust them. A sidecar of reamp counts
@/@ these requests as untrusted, and an app does for them all that it does for users: mails and payments, too.
"""

_PICK = """\
// How many of the sorted numbers are not above the value.
function above(sorted, value) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] > value) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// A walk by about the golden section comes by each place of a stage once, and by its routes in turn.
function routed([, count, step, routes, upTo, before], place) {
  const at = ((place % count) * step) % count;
  const row = above(upTo, at);
  return [routes[row], before[row] + at - (row ? upTo[row - 1] : 0)];
}

function example(step, cycle, upTo, number) {
  const at = ((number % cycle) * step) % cycle;
  return above(upTo, Math.floor((at * upTo[upTo.length - 1]) / cycle));
}
"""


def filled(script: str, parts: dict[str, str]) -> str:
    """Put parts into a script in one go: what comes from a recording is never looked at again."""
    return re.sub(r"@([A-Z/][A-Z0-9_]*)@", lambda match: parts[match[1]], script)


def head(mix: Mix, options: WriteOptions, tool: str, run: str, own: str, *, begin: str = "//") -> str:
    """Give the lines that a script begins with.

    `run` is the command that runs it, `own` what else is to be known of this tool, `begin` begins a line of comment.
    """
    elsewhere = f"BASE_URL={ELSEWHERE} {run}"
    lines = [f"    {elsewhere}"]
    if mix.base:
        wide = max(len(run), len(elsewhere))
        lines = [f"    {run:{wide}}    to {_printable(mix.base)}", f"    {elsewhere:{wide}}    to another place"]
    unsafe = f"\n{begin} {mix.unsafe} requests are not GET, HEAD or OPTIONS, and may change what they are sent to."
    parts = {
        "/": begin,
        "TOOL": tool,
        "NAME": _printable(options.source),
        "TOTAL": f"{mix.total}",
        "AMPLIFIED": "" if options.amplify == MILLION else f", {options.amplify} of what was recorded",
        "FIRST": iso(options.first_ns),
        "LAST": iso(options.last_ns),
        "RUNNING": "\n".join(f"{begin} {line}" for line in lines),
        "STAGES": f"{len(mix.table)}",
        "SECONDS": f"{mix.stage:.6g}",
        "OWN": "\n".join(f"{begin} {line}" for line in own.splitlines()),
        "MARKED": filled(_MARKED, {"/": begin, "MARK": MARK}) if options.mark else "",
        "UNSAFE": unsafe if mix.unsafe else "",
    }
    return filled(_HEAD, parts)


def _printable(text: str) -> str:
    """Keep text within its line."""
    return "".join(char if char.isprintable() else "?" for char in text)


def shares(mix: Mix) -> list[tuple[Route, int, Share]]:
    """Give each route, the number of its first example among all, and how its examples share its requests."""
    made, first = [], 0
    for route in mix.routes:
        made.append((route, first, share((example.weight for example in route.examples), route.requests)))
        first += len(route.examples)
    return made


def javascript(mix: Mix, stages: list[Stage]) -> dict[str, str]:
    """Give the schedule, the requests, and which of them is the n-th, for a script in JavaScript."""
    return {
        "STAGES": _lines(stages),
        "FIRSTS": json.dumps([stage.first for stage in stages]),
        "ROUTES": _lines([route.name, first, *share] for route, first, share in shares(mix)),
        "REQUESTS": _lines(_request(example) for route in mix.routes for example in route.examples),
        "PICK": _PICK,
    }


def _lines(values: Iterable[Any]) -> str:
    return "\n".join(f"  {json.dumps(value)}," for value in values)


def _request(example: Example) -> dict[str, Any]:
    made: dict[str, Any] = {
        "method": example.method,
        "path": example.path,
        "headers": example.headers,
    }
    if example.body:
        try:
            made["body"] = example.body.decode()
        except UnicodeDecodeError:
            made["base64"] = b64encode(example.body).decode()
    return made
