"""A k6 script of the same mix and rates. Pure but for the file given.

Each stage of the recording is a stage of k6's `ramping-arrival-rate`, held by two entries: one that keeps the rate, and
one of no length that jumps to the next. Counted per length of a stage, each target is the very number of requests.
Which request is the n-th iteration's, `schedule` says, here in JavaScript.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, BinaryIO

from captures.exchange.mix import Mix, in_flight, laid_out, mixed, run_name, say
from captures.exchange.notes import Notes
from captures.exchange.options import WriteOptions
from captures.exchange.scripts import filled, head, javascript
from captures.records import Record

MAX_VUS = 20_000
_LEAST_VUS = 20
"""An iteration is dropped while k6 makes the VU that it would have needed."""

_THRESHOLDS = 20
"""Routes whose figures k6's summary shows."""

_OWN = """\
k6 speaks the HTTP version that it negotiates, follows no redirect here, and drops iterations that find no free VU:
look at dropped_iterations. What k6 itself adds where the recording has none: User-Agent."""

_SCRIPT = """\
@HEAD@

import encoding from 'k6/encoding';
import exec from 'k6/execution';
import http from 'k6/http';
import { SharedArray } from 'k6/data';

const BASE_URL = (__ENV.BASE_URL || @BASE_JSON@).replace(/\\/+$/, '');

export const options = {
  discardResponseBodies: true,
  maxRedirects: 0,
  summaryTrendStats: ['avg', 'med', 'p(95)', 'p(99)', 'max'],
  scenarios: {
    recorded: @SCENARIO@,
  },
  // They fail nothing: with them, the summary shows these routes.
  thresholds: @THRESHOLDS@,
};

const STAGE = @STAGE_MS@; // milliseconds

// Of each stage its first request's number, how many there are, and of its routes: which, how many of this and those
// before it, how many in the stages before.
const stages = new SharedArray('stages', () => [
@STAGES@
]);
const FIRSTS = @FIRSTS@;

// Of each route its name, where its requests begin, and what share of its own each of them stands for.
const routes = new SharedArray('routes', () => [
@ROUTES@
]);

const requests = new SharedArray('requests', () => [
@REQUESTS@
]);

@PICK@
let current = -1;
let stage;

// The schedule says which request has this number. If more than a stage of them had to be dropped, the clock says which
// stage's it has to be.
function pick(number) {
  const now = Math.max(0, Math.floor((Date.now() - exec.scenario.startTime) / STAGE));
  let wanted = above(FIRSTS, number) - 1;
  const late = Math.min(now, FIRSTS.length - 1) - wanted > 1;
  if (late) {
    wanted = Math.min(now, FIRSTS.length - 1);
  }
  while (wanted > 0 && (wanted === current ? stage : stages[wanted])[1] === 0) {
    wanted -= 1;
  }
  if (wanted !== current) {
    stage = stages[wanted];
    current = wanted;
  }
  const place = late ? number : number - stage[0];
  const [route, which] = routed(stage, place);
  const [name, first, step, cycle, upTo] = routes[route];
  return [name, requests[first + example(step, cycle, upTo, which)]];
}

export function setup() {
  if (!BASE_URL) {
    exec.test.abort('Say where: BASE_URL=http://127.0.0.1:8000');
  }@SETUP@
}

export default function (@GIVEN@) {
  const [name, request] = pick(exec.scenario.iterationInTest);
  const body = request.base64 === undefined ? request.body : encoding.b64decode(request.base64);
  http.request(request.method, BASE_URL + request.path, body, {
    headers: @HEADERS@,
    tags: @TAGS@,
  });
}
"""


def write(records: Iterable[Record], file: BinaryIO, options: WriteOptions, notes: Notes) -> None:
    """Write a script. Raises CaptureError if nothing of the recording can be sent."""
    mix = mixed(records, options, notes)
    say(mix, notes, "evenly spaced, and mixed, but not in the order that they came in")
    file.write(_script(mix, options).encode())


def _script(mix: Mix, options: WriteOptions) -> str:
    run = {"RUN": run_name(options, "k6")}
    parts = {
        "HEAD": head(mix, options, "k6", "k6 run FILE", _OWN),
        "BASE_JSON": json.dumps(mix.base),
        "SCENARIO": json.dumps(_scenario(mix), indent=2).replace("\n", "\n    "),
        "THRESHOLDS": json.dumps(_thresholds(mix), indent=2).replace("\n", "\n  "),
        "STAGE_MS": f"{mix.stage * 1000:.3f}",
        **javascript(mix, laid_out(mix)),
        **{name: filled(text, run) for name, text in (_MARKED if options.mark else _UNMARKED).items()},
    }
    return filled(_SCRIPT, parts)


_UNMARKED = {
    "SETUP": "",
    "GIVEN": "",
    "HEADERS": "request.headers",
    "TAGS": "{ name }",
}

_MARKED = {
    "SETUP": """
  return { run: __ENV.RUN || `@RUN@-${new Date().toISOString().replace(/[-:]|\\.\\d+/g, '')}` };""",
    "GIVEN": "data",
    "HEADERS": "Object.assign({}, request.headers, { 'x-load-test': data.run })",
    "TAGS": "{ name, run: data.run }",
}


def _thresholds(mix: Mix) -> dict[str, list[str]]:
    """Give what makes k6's summary tell routes apart, for the most frequent ones whose names k6 can read there."""
    names = [route.name for route in mix.routes if re.fullmatch(r"[A-Z]+ [A-Za-z0-9/._{}~-]+", route.name)]
    return {
        f"{metric}{{name:{name}}}": [always]
        for name in names[:_THRESHOLDS]
        for metric, always in (("http_req_duration", "max>=0"), ("http_req_failed", "rate<=1"))
    }


def _scenario(mix: Mix) -> dict[str, Any]:
    length = _duration(mix.stage)
    vus = max(_LEAST_VUS, min(in_flight(mix), MAX_VUS // 10))
    pool = {"preAllocatedVUs": vus, "maxVUs": 10 * vus}
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


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.3f}ms"
