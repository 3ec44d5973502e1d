"""A k6 script of the same mix and rate. Pure but for the file given.

Each stage of the recording is a stage of k6's `ramping-arrival-rate`, held by two entries: one that keeps the rate, and
one of no length that jumps to the next. Counted per length of a stage, each target is the very number of requests.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterable
from typing import Any, BinaryIO

from captures.exchange.mix import Example, Mix, in_flight, mixed, say
from captures.exchange.notes import Notes
from captures.exchange.options import WriteOptions
from captures.moments import iso
from captures.records import Record

_SCRIPT = """\
// A load test for k6, made by reamp of the recording @NAME@
// (@TOTAL@ requests, @FIRST@ to @LAST@).
//
//     k6 run FILE                               to @BASE@, where most of it went
//     BASE_URL=http://127.0.0.1:8000 k6 run FILE    to another place
//
// What is kept: the number of requests in each stage of @SECONDS@, and each endpoint's share, exactly.
// What is not: the moments within a stage (k6 spaces them evenly), who came after whom, and of each endpoint all but
// a drawn sample of requests. Secrets are pseudonyms if the recording was redacted. k6 speaks the HTTP version that it
// negotiates, follows no redirect here, and drops iterations that find no free VU: look at dropped_iterations.
// What k6 itself adds where the recording has none: User-Agent. Host is that of BASE_URL.
// Nothing holds this load under reamp's ceiling: keep it off production.@UNSAFE@

import encoding from 'k6/encoding';
import exec from 'k6/execution';
import http from 'k6/http';
import { SharedArray } from 'k6/data';

const BASE_URL = (__ENV.BASE_URL || @BASE_JSON@).replace(/\\/+$/, '');

export const options = {
  discardResponseBodies: true,
  maxRedirects: 0,
  scenarios: {
    recorded: @SCENARIO@,
  },
};

// How many requests each of `requests` and all before it stand for.
const upTo = @UP_TO@;

const requests = new SharedArray('requests', () => [
@REQUESTS@
]);

// Multiples of the golden ratio fall evenly into [0, 1): shares are right in short runs too, and every run is the same.
function draw(number) {
  const wanted = ((number + 0.5) * 0.6180339887498949) % 1 * upTo[upTo.length - 1];
  let low = 0;
  let high = upTo.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (upTo[middle] > wanted) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return requests[low];
}

export default function () {
  const request = draw(exec.scenario.iterationInTest);
  const body = request.base64 === undefined ? request.body : encoding.b64decode(request.base64);
  http.request(request.method, BASE_URL + request.path, body, {
    headers: request.headers,
    tags: { name: request.name },
  });
}
"""


def write(records: Iterable[Record], file: BinaryIO, options: WriteOptions, notes: Notes) -> None:
    """Write a script. Raises CaptureError if nothing of the recording can be sent."""
    mix = mixed(records, options, notes)
    say(mix, notes, "evenly spaced within each, drawn by share and not in their order")
    file.write(_script(mix, options).encode())


def _script(mix: Mix, options: WriteOptions) -> str:
    up_to, total = [], 0
    for example in mix.examples:
        total += example.weight
        up_to.append(total)
    unsafe = f"\n// {mix.unsafe} requests are not GET, HEAD or OPTIONS, and may change what they are sent to."
    parts = {
        "NAME": _comment(options.source),
        "TOTAL": f"{mix.total}",
        "FIRST": iso(options.first_ns),
        "LAST": iso(options.last_ns),
        "SECONDS": _duration(mix.stage),
        "BASE": _comment(mix.base),
        "UNSAFE": unsafe if mix.unsafe else "",
        "BASE_JSON": json.dumps(mix.base),
        "SCENARIO": json.dumps(_scenario(mix), indent=2).replace("\n", "\n    "),
        "UP_TO": json.dumps(up_to),
        "REQUESTS": "\n".join(f"  {json.dumps(_request(example))}," for example in mix.examples),
    }
    return filled(_SCRIPT, parts)


def filled(script: str, parts: dict[str, str]) -> str:
    """Put parts into a script in one go: what comes from a recording is never looked at again."""
    return re.sub(r"@([A-Z][A-Z0-9_]*)@", lambda match: parts[match[1]], script)


def _scenario(mix: Mix) -> dict[str, Any]:
    length = _duration(mix.stage)
    vus = in_flight(mix)
    pool = {"preAllocatedVUs": vus, "maxVUs": max(10 * vus, 100)}
    if len(set(mix.stages)) == 1:
        whole = _duration(mix.stage * len(mix.stages))
        return {
            "executor": "constant-arrival-rate",
            "rate": mix.stages[0],
            "timeUnit": length,
            "duration": whole,
            **pool,
        }
    stages: list[dict[str, Any]] = []
    for count in mix.stages:
        if stages and stages[-1]["target"] != count:
            stages.append({"target": count, "duration": "0s"})
        stages.append({"target": count, "duration": length})
    return {
        "executor": "ramping-arrival-rate",
        "startRate": mix.stages[0],
        "timeUnit": length,
        **pool,
        "stages": stages,
    }


def _request(example: Example) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": example.name,
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


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.3f}ms"


def _comment(text: str) -> str:
    """Keep text within its line."""
    return "".join(char if char.isprintable() else "?" for char in text)
