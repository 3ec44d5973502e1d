"""An Artillery script of the same mix and rates, in JavaScript. Pure but for the file given.

Each stage of the recording is a phase with the number of its requests (`arrivalCount`), which one worker alone carries
out; so one counter says which request is the next, by `schedule`. Every request is a virtual user's only one: an open
model. Artillery fills `{{ }}` in whatever it sends, so what came from a recording is handed over as a variable's value.
"""

import json
from collections.abc import Iterable
from typing import BinaryIO

from captures.exchange.mix import Mix, laid_out, mixed, run_name, say
from captures.exchange.notes import Notes
from captures.exchange.options import WriteOptions
from captures.exchange.scripts import filled, head, javascript
from captures.records import Record

_OWN = """\
Everything is sent as HTTP/1.1, and no redirect is followed. One process sends it all: some hundred requests a second.
What Artillery itself adds where the recording has none: User-Agent."""

_SCRIPT = """\
@HEAD@

'use strict';

const { isMainThread } = require('node:worker_threads');

const BASE_URL = (process.env.BASE_URL || @BASE_JSON@).replace(/\\/+$/, '');
if (!BASE_URL) {
  throw new Error('Say where: BASE_URL=http://127.0.0.1:8000');
}
const MARK = @MARK@;

// Of each stage its first request's number, how many there are, and of its routes: which, how many of this and those
// before it, how many in the stages before.
const stages = [
@STAGES@
];
const FIRSTS = @FIRSTS@;

// Of each route its name, where its requests begin, and what share of its own each of them stands for.
const routes = [
@ROUTES@
];

const requests = [
@REQUESTS@
];

@PICK@
let sent = 0;

function next(params, context, events, done) {
  let number = above(FIRSTS, sent) - 1;
  while (number > 0 && stages[number][1] === 0) {
    number -= 1;
  }
  const stage = stages[number];
  const [route, which] = routed(stage, sent - stage[0]);
  sent += 1;
  const [name, first, step, cycle, upTo] = routes[route];
  const request = requests[first + example(step, cycle, upTo, which)];
  const headers = { ...request.headers, ...MARK };
  context.vars.values = Object.values(headers);
  params.method = request.method;
  params.url = BASE_URL + request.path.replaceAll('{{', '%7B%7B');
  params.headers = Object.fromEntries(Object.keys(headers).map((one, at) => [one, `{{ values[${at}] }}`]));
  if (request.body !== undefined || request.base64 !== undefined) {
    params.body = request.base64 === undefined ? Buffer.from(request.body) : Buffer.from(request.base64, 'base64');
    params.allowGetBody = request.method === 'GET';
  }
  events.emit('counter', `requests.${name}`, 1);
  done();
}

module.exports = {
  config: {
    target: BASE_URL,
    processor: __filename,
    http: { pool: 10000, timeout: 60 },
    phases: stages.map((stage) =>
      stage[1] ? { duration: '@MILLIS@ms', arrivalCount: stage[1] } : { pause: '@MILLIS@ms' }
    ),
  },
  scenarios: [
    { name: 'recorded', flow: [{ get: { url: '/', gzip: false, followRedirect: false, beforeRequest: 'next' } }] },
  ],
};

// What is above goes from Artillery's main thread to its workers, where no function can go: they read this file.
if (!isMainThread) {
  module.exports.next = next;
}
"""


def write(records: Iterable[Record], file: BinaryIO, options: WriteOptions, notes: Notes) -> None:
    """Write a script. Raises CaptureError if nothing of the recording can be sent."""
    mix = mixed(records, options, notes)
    say(mix, notes, "evenly spaced, and mixed, but not in the order that they came in")
    file.write(_script(mix, options).encode())


def _script(mix: Mix, options: WriteOptions) -> str:
    now = "new Date().toISOString().replace(/[-:]|\\.\\d+/g, '')"
    run = f"{{ 'x-load-test': process.env.RUN || '{run_name(options, 'artillery')}-' + {now} }}"
    parts = {
        "HEAD": head(mix, options, "Artillery", "artillery run FILE", _OWN),
        "MARK": run if options.mark else "{}",
        "MILLIS": f"{mix.stage * 1000:.3f}",
        "BASE_JSON": json.dumps(mix.base),
        **javascript(mix, laid_out(mix)),
    }
    return filled(_SCRIPT, parts)
