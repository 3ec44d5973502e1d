"use strict";
// Everything is put in as text, never as HTML: upstream, reasons and names are what somebody wrote.
const EVERY = 1000;      // ms between two questions
const PATIENCE = 2000;   // ms that an answer may take
const FRESH = 3000;      // ms after which a figure is no longer shown
const WINDOW = 10000;    // ms over which rates are taken
const NONE = "\u2013";

const $ = (id) => document.getElementById(id);
const body = document.body;
let heard = -Infinity;   // when the last state came
let lost = null;         // since when none has
let samples = [];        // [ms, run of the sidecar, passed, withheld, untrusted]
let engaged = null;      // what the lever is known to be; null: not known

const here = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(location.hostname);
$("token-field").hidden = here;

function headers(more) {
  const token = $("token").value.trim();
  return token ? { ...more, authorization: `Bearer ${token}` } : { ...more };
}

async function problem(answer) {
  try { return (await answer.json()).detail || `${answer.status} ${answer.statusText}`; }
  catch { return `${answer.status} ${answer.statusText}`; }
}

function time(seconds) {
  const at = new Date(seconds * 1000);
  const today = at.toDateString() === new Date().toDateString();
  return today ? at.toLocaleTimeString() : at.toLocaleString();
}

function figure(name, text, tone) {
  const field = document.querySelector(`[data-figure=${name}]`);
  field.textContent = text;
  field.className = tone || "";
}

function rows(table, lines) {
  table.replaceChildren(...lines.map((cells) => {
    const row = document.createElement("tr");
    cells.forEach(([text, tone], at) => {
      const cell = document.createElement(at ? "td" : "th");
      if (!at) cell.scope = "row";
      cell.textContent = text;
      if (tone) cell.className = tone;
      row.append(cell);
    });
    return row;
  }));
}

const number = (value, digits = 1) => value.toLocaleString("en", { maximumFractionDigits: digits });
const rate = (value) => (value === null ? NONE : `${number(value)}/s`);
const ms = (seconds) => (seconds == null ? NONE : `${number(seconds * 1000)} ms`);
const percent = (share) => (share == null ? NONE : `${number(share * 100, 2)}%`);
const sum = (counts) => Object.values(counts || {}).reduce((all, one) => all + one, 0);

function rates(state) {
  const synthetic = state.requests.synthetic || {};
  // A tap can't withhold: there it is those that came although there was no credit for them.
  const withheld = (synthetic.withheld || 0) + (synthetic.excess || 0);
  const sample = [performance.now(), state.started, sum(synthetic) - withheld, withheld, sum(state.requests.untrusted)];
  // After a restart it counts from nothing.
  if (samples.length && samples.at(-1)[1] !== state.started) samples = [];
  samples.push(sample);
  while (samples.length > 2 && sample[0] - samples[1][0] >= WINDOW) samples.shift();
  const first = samples[0], seconds = (sample[0] - first[0]) / 1000;
  return [2, 3, 4].map((at) => (seconds > 0 ? Math.max(0, sample[at] - first[at]) / seconds : null));
}

function stands(lever, consequence) {
  const by = lever && lever.by ? ` by ${lever.by}${lever.at ? ` at ${time(lever.at)}` : ""}: ${lever.reason}` : "";
  const unsure = lever && !lever.persisted ? " (not written down: a restart will not know it)" : "";
  return !lever ? "not known" : lever.engaged ? `PULLED${by}${unsure}. ${consequence}`
    : `free${by ? `; reset${by}` : ""}${unsure}`;
}

function showLever(lever) {
  engaged = lever ? lever.engaged : null;
  $("lever").dataset.lever = engaged === null ? "unknown" : engaged ? "pulled" : "free";
  $("lever-state").textContent = stands(lever, "No synthetic request passes.");
  $("lever-state").className = engaged ? "bad" : "";
  $("reset").hidden = engaged !== true;
}

function showDarkLever(lever) {
  const pulled = Boolean(lever && lever.engaged);
  $("dark").dataset.lever = lever ? (pulled ? "pulled" : "free") : "unknown";
  $("dark-state").textContent = `Lever: ${stands(lever, "No copy is sent.")}` +
    (engaged && !pulled ? " (held up by the lever above)" : "");
  $("dark-state").className = pulled ? "bad" : "";
  $("dark-reset").hidden = !pulled;
}

function showDark(dark) {
  $("dark").hidden = !dark;
  if (!dark) return;
  $("dark-what").textContent = `of ${dark.share} of real requests, to ${dark.url}` +
    (dark.serving ? "" : ". THE PROCESS THAT SENDS THEM IS GONE");
  $("dark-what").className = dark.serving ? "" : "bad";
  showDarkLever(dark.lever);
  const under = ["answering", "waiting", "in_flight"].map((name) => [name, dark[name]]);
  const parts = [...Object.entries(dark.outcomes), ...under];
  const reconciles = parts.reduce((all, [, count]) => all + count, 0) === dark.seen;
  const took = (times) => ["p50", "p95", "p99"].map((name) => ms(times[name])).join(" / ");
  rows($("dark-accounts"), [
    [["real requests seen"], [number(dark.seen)]],
    ...parts.filter(([, count]) => count).map(([name, count]) => [[name.replace("_", " ")], [number(count)]]),
    [["reconciles"], [reconciles ? "yes" : "no", reconciles ? "good" : "bad"]],
    ...Object.entries(dark.times).map(([side, times]) => [[`${side} p50 / p95 / p99`], [took(times)]]),
    ...Object.entries(dark.compared).filter(([, counts]) => counts.same + counts.different).map(
      ([aspect, counts]) => [[aspect], [`${number(counts.same)} the same, ${number(counts.different)} different`,
        counts.different ? "warn" : "good"]]),
  ]);
}

function showEgress(egress) {
  $("egress").hidden = !egress;
  if (!egress) return;
  $("egress-what").textContent = `by the egress ${egress.listen}` + (egress.serves ? "" : ". IT CARRIES NO CALLS");
  $("egress-what").className = egress.serves ? "" : "bad";
  const counted = (counts) => Object.entries(counts).filter(([, count]) => count);
  rows($("egress-calls"), [
    ...Object.entries(egress.calls).map(([kind, counts]) => {
      const by = counted(counts).map(([what, count]) => `${number(count)} by ${what}`).join(", ");
      return [[`${kind} calls`], [number(sum(counts)) + (by ? ` (${by})` : "")]];
    }),
    ...counted(egress.answered).map(([what, count]) => [[what], [number(count)]]),
    [["calls with a known trace"], [percent(egress.hit_ratio)]],
    [["synthetic traces held"], [`about ${number(egress.held)} of ${number(egress.room)}`]],
    ...(egress.restarts ? [[["died before"], [number(egress.restarts), "warn"]]] : []),
  ]);
}

function show(state) {
  const [passed, withheld, untrusted] = rates(state);
  const signal = state.signal;
  const tap = state.tap ? `a tap: gets copies of ${state.tap} of real requests, and can refuse none` : "";
  const upstream = tap || state.upstream.replace(/^reverse:/, ""); // mitmproxy's word for what every sidecar is
  $("upstream").textContent = upstream;
  document.title = `${state.lever.engaged ? "STOPPED " : ""}reamp sidecar ${upstream}`;
  showLever(state.lever);
  $("doubt").textContent = state.doubt ? `NO LOAD TAG COUNTS: ${state.doubt}` : "";
  showDark(state.dark);
  showEgress(state.egress);
  figure("real", rate(signal.rate));
  for (const name of ["p50", "p95", "p99"]) figure(name, ms(signal[name]));
  figure("errors", percent(signal.error_ratio), signal.error_ratio > 0 ? "warn" : "");
  figure("passed", rate(passed));
  figure("withheld", rate(withheld), tap && withheld > 0 ? "bad" : "");
  $("withheld-name").textContent = tap ? "Synthetic, without credit" : "Synthetic, withheld";
  figure("untrusted", rate(untrusted), untrusted > 0 ? "warn" : "");
  figure("ceiling", state.max_extra);
  figure("credit", number(state.credit));
  figure("subscribers", String(state.subscribers));
  figure("capturing", state.capturing ? "yes" : "no", state.capturing ? "" : "warn");
  rows($("workers"), state.workers.map((one) => [
    [one.pid], [one.state, one.state === "serving" ? "good" : "warn"], [time(one.since)], [one.restarts],
  ]));
  const accounts = Object.entries(state.accounting);
  const others = accounts.reduce((all, [name, count]) => all + (name === "seen" ? 0 : count), 0);
  const reconciles = others === state.accounting.seen;
  rows($("accounting"), [
    ...accounts.map(([name, count]) => [[name.replace("_", " ")], [number(count)]]),
    [["reconciles"], [reconciles ? "yes" : "no", reconciles ? "good" : "bad"]],
  ]);
  const rules = state.slo || [];
  $("rules-title").hidden = !rules.length;
  $("rules").replaceChildren(...rules.map((rule) => {
    const line = document.createElement("li");
    line.textContent = rule.words;
    line.className = { breached: "bad", pending: "warn" }[rule.state] || "";
    return line;
  }));
  $("about").textContent = `reamp ${state.version}, audience ${state.audience}, started ${time(state.started)}; ` +
    `real traffic over ${number(signal.window)} s`;
}

// What is not fresh is not shown at all.
function blank() {
  for (const field of document.querySelectorAll("[data-figure]")) {
    field.textContent = NONE;
    field.className = "";
  }
  for (const id of ["workers", "accounting", "rules", "dark-accounts", "egress-calls"]) $(id).replaceChildren();
  $("rules-title").hidden = true;
  $("about").textContent = "";
  document.title = "NOT REACHABLE reamp sidecar";
  samples = [];
  showLever(null);
  showDarkLever(null);
  $("doubt").textContent = "";
  $("dark-what").textContent = "";
  $("egress-what").textContent = "";
}

function contact(kind, text) {
  body.dataset.contact = kind;
  if ($("contact").textContent !== text) $("contact").textContent = text;
}

let asking = false;
let moves = 0;           // of the lever, from this page: what was asked before one is out of date after it
async function ask() {
  if (asking) return;
  asking = true;
  const before = moves;
  try {
    const answer = await fetch("/v1/state", {
      headers: headers(), cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(PATIENCE),
    });
    if (answer.ok) {
      const state = await answer.json();
      if (moves !== before) {
        asking = false;
        return ask();
      }
      show(state);
      heard = performance.now();
      lost = null;
      contact("fresh", "live");
    } else {
      const why = await problem(answer);
      blank();
      if ([401, 403, 429].includes(answer.status)) {
        $("token-field").hidden = false;
        // The port's own words without a token are for a command and its environment: here it is typed in.
        const lacking = answer.status === 401 && !$("token").value.trim();
        contact("refused", lacking ? "From another machine this needs a token: write the sidecar's control token below" : why);
      } else contact("lost", why);
    }
  } catch { missed(); }
  asking = false;
}

function missed() {
  lost = lost || new Date();
  if (performance.now() - heard > FRESH || body.dataset.contact !== "fresh") {
    blank();
    contact("lost", `not reachable since ${lost.toLocaleTimeString()}; trying again`);
  }
}

async function move(pull, button, path = "/v1/lever", showMoved = showLever) {
  const reason = $("reason").value.trim();
  if (!pull && !reason) {
    tell("Say why it is safe again, then reset.", "bad");
    $("reason").focus();
    return;
  }
  button.setAttribute("aria-busy", "true");
  tell(pull ? "stopping" : "resetting", "");
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: headers({ "content-type": "application/json" }),
      body: JSON.stringify({ engaged: pull, reason: reason || "stopped by hand, on the page", by: $("name").value.trim() }),
      cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(5000),
    });
    if (answer.ok) {
      const lever = await answer.json();
      moves += 1;
      showMoved(lever);
      tell(pull ? "Stopped." : "Reset.", "good");
      $("reason").value = "";
    } else {
      if ([401, 403, 429].includes(answer.status)) $("token-field").hidden = false;
      tell(`NOT ${pull ? "stopped" : "reset"}: ${await problem(answer)}`, "bad");
    }
  } catch {
    tell(`NOT ${pull ? "stopped" : "reset"}, as far as is known: the sidecar does not answer.`, "bad");
  }
  button.removeAttribute("aria-busy");
  ask();
}

function tell(text, tone) {
  $("outcome").textContent = text;
  $("outcome").className = tone;
}

$("moves").addEventListener("submit", (event) => {
  event.preventDefault();
  move(true, $("stop"));
});
$("reset").addEventListener("click", () => move(false, $("reset")));
$("dark-stop").addEventListener("click", () => move(true, $("dark-stop"), "/v1/dark/lever", showDarkLever));
$("dark-reset").addEventListener("click", () => move(false, $("dark-reset"), "/v1/dark/lever", showDarkLever));
$("token").addEventListener("change", ask);
document.addEventListener("visibilitychange", ask);
setInterval(ask, EVERY);
// A page that was asleep shows nothing old when it is looked at again.
setInterval(() => { if (body.dataset.contact === "fresh" && performance.now() - heard > FRESH) missed(); }, 250);
ask();
