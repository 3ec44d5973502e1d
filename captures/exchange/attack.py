"""A shell script that has vegeta send the same mix at the same rates. Pure but for the file given.

vegeta keeps one rate and sends its targets in turn. So each stage of the recording is an attack of its own, which
begins at its time whether or not the one before has all its answers, with targets in the order that `schedule` gives,
here in awk. (Without `-lazy` vegeta would begin anew at the end of its targets; with it, the attack would count one
failure there. So an attack ends half a gap after its last request.)
"""

import json
from base64 import b64encode
from collections.abc import Iterable
from shlex import quote
from typing import Any, BinaryIO

from captures.exchange.mix import Example, Mix, laid_out, mixed, run_name, say
from captures.exchange.notes import Notes
from captures.exchange.options import WriteOptions
from captures.exchange.schedule import Stage
from captures.exchange.scripts import ELSEWHERE, filled, head, shares
from captures.records import Record

_OWN = """\
Redirects are not followed. Each stage is an attack of its own, with connections of its own. What vegeta itself adds
where the recording has none: User-Agent, Accept-Encoding. Results are left in ./results-RUN, one file a stage:
vegeta report, plot and encode read them all. It takes bash, awk and vegeta 12."""

_SCRIPT = """\
#!/usr/bin/env bash
@HEAD@

set -u
export LC_ALL=C
BASE_URL=${BASE_URL:-@BASE@}
export BASE_URL=${BASE_URL%/}
if [ -z "$BASE_URL" ]; then
  echo 'Say where: BASE_URL=@ELSEWHERE@' >&2
  exit 2
fi
RUN=${RUN:-@RUN@-$(date -u +%Y%m%dT%H%M%SZ)}
RESULTS=results-$RUN
command -v vegeta >/dev/null || { echo 'vegeta is not installed: https://github.com/tsenart/vegeta' >&2; exit 2; }
mkdir "$RESULTS" || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM

# In the order of the stages: number of requests, step, number of routes; and of each route: which, how many of this and
# those before it, how many in the stages before.
cat >"$work/stages" <<'END'
@STAGES@
END

# Of each route where its targets begin, and what share of its own each of them stands for: step, cycle, how many, sums.
cat >"$work/routes" <<'END'
@ROUTES@
END

# The targets, without the place that they are sent to.
cat >"$work/targets" <<'END'
@TARGETS@
END

# Write the targets of a stage, in their order. A walk by about the golden section comes by each of its places once.
cat >"$work/schedule.awk" <<'END'
function above(from, count, value,    low, high, middle) {
  low = 0
  high = count
  while (low < high) {
    middle = int((low + high) / 2)
    if (sums[from + middle] > value) high = middle
    else low = middle + 1
  }
  return low
}
FILENAME == ARGV[1] {
  first[FNR - 1] = $1; step[FNR - 1] = $2; cycle[FNR - 1] = $3; examples[FNR - 1] = $4
  begin[FNR - 1] = size + 0
  for (i = 1; i <= $4; i++) sums[size++] = $(4 + i)
  next
}
FILENAME == ARGV[2] { target[FNR - 1] = $0; next }
{
  for (i = 0; i < $3; i++) {
    which[i] = $(4 + 3 * i); sums[size + i] = $(5 + 3 * i) + 0; before[i] = $(6 + 3 * i)
  }
  for (place = 0; place < $1; place++) {
    at = (place * $2) % $1
    row = above(size, $3, at)
    route = which[row]
    number = before[row] + at - (row ? sums[size + row - 1] : 0)
    at = ((number % cycle[route]) * step[route]) % cycle[route]
    last = sums[begin[route] + examples[route] - 1]
    one = first[route] + above(begin[route], examples[route], int(at * last / cycle[route]))
    print "{\\"url\\":\\"" ENVIRON["BASE_URL"] target[one]
  }
}
END

now() { echo "${EPOCHREALTIME:-$(date +%s)}"; }

begun=$(now)
number=0
while read -r requests rest; do
  number=$((number + 1))
  [ "$requests" -gt 0 ] || continue
  targets=$work/stage-$number
  echo "$requests $rest" | awk -f "$work/schedule.awk" "$work/routes" "$work/targets" - >"$targets"
  sleep "$(awk -v begun="$begun" -v now="$(now)" -v number="$number" 'BEGIN {
    left = begun + (number - 1) * @SECONDS@ - now
    printf "%.3f", (left > 0 ? left : 0)
  }')"
  length=$(awk -v count="$requests" 'BEGIN { printf "%.6f", @MILLIS@ * (count - 0.5) / count }')
  vegeta attack -name "$RUN" -format json -lazy -targets "$targets" -output "$RESULTS/$(printf %05d "$number").bin" \\
    -rate "$requests/@MILLIS@ms" -duration "${length}ms" -redirects -1 -timeout 60s -max-body 0B@MARK@ &
done <"$work/stages"
wait
vegeta report "$RESULTS"/*.bin
"""


def write(records: Iterable[Record], file: BinaryIO, options: WriteOptions, notes: Notes) -> None:
    """Write a script. Raises CaptureError if nothing of the recording can be sent."""
    mix = mixed(records, options, notes)
    say(mix, notes, "evenly spaced, and mixed, but not in the order that they came in")
    file.write(_script(mix, options).encode())


def _script(mix: Mix, options: WriteOptions) -> str:
    parts = {
        "HEAD": head(mix, options, "vegeta", "bash FILE", _OWN, begin="#"),
        "BASE": quote(mix.base),
        "ELSEWHERE": ELSEWHERE,
        "RUN": run_name(options, "vegeta"),
        "STAGES": "\n".join(_stage(stage) for stage in laid_out(mix)),
        "ROUTES": "\n".join(
            f"{first} {share.step} {share.cycle} {len(share.up_to)} {' '.join(map(str, share.up_to))}"
            for _, first, share in shares(mix)
        ),
        "TARGETS": "\n".join(_target(example) for route in mix.routes for example in route.examples),
        "SECONDS": f"{mix.stage:.6f}",
        "MILLIS": f"{mix.stage * 1000:.3f}",
        "MARK": ' -header "x-load-test: $RUN"' if options.mark else "",
    }
    return filled(_SCRIPT, parts)


def _stage(stage: Stage) -> str:
    rows = zip(stage.routes, stage.up_to, stage.before, strict=True)
    return f"{stage.requests} {stage.step} {len(stage.routes)} {' '.join(' '.join(map(str, row)) for row in rows)}"


def _target(example: Example) -> str:
    """Give a target from its URL's path on: what stands before it, the script adds."""
    made: dict[str, Any] = {"method": example.method}
    if example.body:
        made["body"] = b64encode(example.body).decode()
    if example.headers:
        made["header"] = {name: [value] for name, value in example.headers.items()}
    return json.dumps(example.path)[1:-1] + '",' + json.dumps(made, separators=(",", ":"))[1:]
