"use strict";
// The tables need nothing of this to be read. Text of strangers only ever goes into text, never into markup.

const data = JSON.parse(document.getElementById("data").textContent);

// --- the table of routes ---

const table = document.getElementById("routes");
const heads = [...table.tHead.rows[0].cells];
const bodies = [...table.tBodies].filter((body) => body.dataset.text !== undefined);

function valueOf(body, column) {
  const value = body.rows[0].cells[column].dataset.value;
  return value === "" ? null : column === 0 ? value : Number(value);
}

function sort(column) {
  const was = heads[column].getAttribute("aria-sort");
  // Numbers are looked at from the largest, names from A.
  const order = was === "none" ? (column === 0 ? "ascending" : "descending") : was === "ascending" ? "descending" : "ascending";
  const sign = order === "ascending" ? 1 : -1;
  bodies.sort((a, b) => {
    const [x, y] = [valueOf(a, column), valueOf(b, column)];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (x < y ? -1 : x > y ? 1 : 0);
  });
  for (const head of heads) head.setAttribute("aria-sort", "none");
  heads[column].setAttribute("aria-sort", order);
  table.append(...bodies);
}

function filter() {
  const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const only = document.getElementById("only-changes").checked;
  let shown = 0;
  for (const body of bodies) {
    const fits = words.every((word) => body.dataset.text.includes(word)) && (!only || body.dataset.changed === "1");
    body.hidden = !fits;
    shown += fits;
  }
  document.getElementById("shown").textContent = `${shown} of ${bodies.length} routes`;
}

for (const head of heads) {
  const button = head.querySelector("button");
  button.addEventListener("click", () => sort(Number(button.dataset.column)));
}
for (const body of bodies) {
  const button = body.querySelector("button.open");
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    body.rows[1].hidden = !open;
  });
}
document.getElementById("filter").addEventListener("input", filter);
document.getElementById("only-changes").addEventListener("change", filter);
filter();

// --- the charts ---

// Seconds since the start, as times of the first day there was: so the axis reads 0:05 and not 5.
const moment = (seconds) => new Date(Math.round(seconds * 1000)).toISOString().replace("T", " ").replace("Z", "");
// What stands in a hover label is taken for a few tags by the library.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");
const thousand = (values) => values.map((value) => (value === null ? null : value * 1000));

function colours() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`).trim();
}

function layout(colour, title, extra) {
  const axis = { gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("line"), tickcolor: colour("line") };
  const long = (data.at.at(-1) ?? 0) >= 3600;
  const end = Math.max(data.length, 1, ...data.marks.map((mark) => mark.at)) * 1.01;
  const marks = data.marks.slice(0, 60).map((mark) => ({
    type: "line", xref: "x", yref: "paper", x0: moment(mark.at), x1: moment(mark.at), y0: 0, y1: 1,
    line: { color: colour("soft"), width: 1, dash: "dot" },
  }));
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("soft"), family: "system-ui, sans-serif", size: 12 },
    margin: { l: 54, r: 58, t: 34, b: 34 },
    hovermode: "x unified",
    hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("line"), font: { color: colour("ink") } },
    legend: { font: { size: innerWidth < 640 ? 11 : 12 }, orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "normal", bgcolor: "rgba(0,0,0,0)" },
    xaxis: { ...axis, type: "date", tickformat: long ? "%-H:%M:%S" : "%-M:%S", hoverformat: "%-H:%M:%S", range: [moment(0), moment(end)], nticks: innerWidth < 640 ? 5 : 10 },
    yaxis: { ...axis, title: { text: title, font: { size: 12 } }, rangemode: "tozero" },
    yaxis2: { overlaying: "y", side: "right", range: [0, 1], visible: false, fixedrange: true },
    shapes: marks,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("soft"), activecolor: colour("accent") },
    ...extra,
  };
}

function line(colour, name, y, key, more) {
  return { type: "scatter", mode: data.at.length > 1 ? "lines" : "markers", name, x: data.at.map(moment), y, line: { color: colour(key), width: 2 }, connectgaps: false, ...more };
}

// The area between two lines, a piece for each stretch in which both are known.
function band(low, high, fillcolor) {
  const [x, y] = [[], []];
  let from = 0;
  for (let to = 0; to <= data.at.length; to += 1) {
    if (to < data.at.length && low[to] !== null && high[to] !== null) continue;
    if (to > from) {
      const there = data.at.slice(from, to).map(moment);
      x.push(...there, ...there.toReversed(), null);
      y.push(...thousand(low.slice(from, to)), ...thousand(high.slice(from, to)).toReversed(), null);
    }
    from = to + 1;
  }
  return { type: "scatter", mode: "lines", x, y, fill: "toself", fillcolor, line: { width: 0 }, hoverinfo: "skip", showlegend: false };
}

function journal(colour) {
  return {
    type: "scatter", mode: "markers", name: "journal", x: data.marks.map((mark) => moment(mark.at)), y: data.marks.map(() => 0.03), yaxis: "y2",
    text: data.marks.map((mark) => plain(mark.text)), hovertemplate: "%{text}<extra>journal</extra>",
    cliponaxis: false, marker: { symbol: "triangle-up", size: 10, color: colour("ink") },
  };
}

const some = (values) => values.some((value) => value);

function charts() {
  const colour = colours();
  const events = data.marks.length ? [journal(colour)] : [];
  const perSecond = "%{y:.1f}/s";
  const rate = [];
  if (data.real.some((value) => value !== null)) rate.push(line(colour, "real", data.real, "c-real", { hovertemplate: perSecond }));
  rate.push(line(colour, "wanted", data.wanted, "c-wanted", { hovertemplate: perSecond, line: { color: colour("c-wanted"), width: 5 } }));
  rate.push(line(colour, "sent (extra)", data.sent, "c-sent", { hovertemplate: perSecond }));
  // Above the others, for most runs send just what the ceiling allows.
  if (data.ceiling.some((value) => value !== null)) rate.push(line(colour, "ceiling", data.ceiling, "c-ceiling", { hovertemplate: perSecond, line: { color: colour("c-ceiling"), width: 2, dash: "dash" } }));
  if (some(data.withheld)) rate.push(line(colour, "withheld", data.withheld, "c-failed", { hovertemplate: perSecond }));

  const bands = [];
  const names = { p50: "p50", p90: "p90", p99: "p99", p99_9: "p99.9" };
  const keys = Object.keys(names);
  for (let place = 1; place < keys.length; place += 1) bands.push(band(data[keys[place - 1]], data[keys[place]], colour(`c-${keys[place]}`) + "22"));
  for (const key of keys) {
    bands.push(line(colour, names[key], thousand(data[key]), `c-${key}`, { hovertemplate: "%{y:.2f} ms", line: { color: colour(`c-${key}`), width: 1.5 } }));
  }
  if (some(data.real_p95)) bands.push(line(colour, "real, p95", thousand(data.real_p95), "c-real", { hovertemplate: "%{y:.2f} ms", line: { color: colour("c-real"), width: 2, dash: "dot" } }));

  const palette = ["c-failed", "c-ceiling", "c-p99", "c-p90", "c-p50", "c-real", "c-p99_9"];
  const failures = Object.entries(data.errors).map(([kind, y], place) => ({
    type: "bar", name: plain(kind), x: data.at.map(moment), y, marker: { color: colour(palette[place % palette.length]) }, hovertemplate: "%{y:.2f}/s",
  }));
  document.getElementById("figure-failures").hidden = !failures.length;

  const sender = [
    line(colour, "p99 of the lag", thousand(data.lag), "c-p99", { hovertemplate: "%{y:.3f} ms" }),
    line(colour, "busiest thread (right)", data.cpu, "c-ceiling", { yaxis: "y3", hovertemplate: "%{y:.0%} of a core" }),
  ];
  if (some(data.full)) sender.push(line(colour, "connections all in use (right)", data.full, "c-failed", { yaxis: "y3", hovertemplate: "%{y:.0%} of the time" }));

  // Whole powers of ten, so that the axis has a label above and below everything.
  const times = thousand([...keys.flatMap((key) => data[key]), ...data.real_p95]).filter((value) => value > 0);
  const [least, most] = times.length ? [Math.min(...times), Math.max(...times)] : [1, 10];
  const range = [Math.floor(Math.log10(least)), Math.ceil(Math.log10(most))];
  if (range[0] === range[1]) range[1] += 1;
  const log = { yaxis: { type: "log", range, gridcolor: colour("line"), linecolor: colour("line"), title: { text: "ms", font: { size: 12 } }, dtick: 1, exponentformat: "none" } };
  const share = { yaxis3: { overlaying: "y", side: "right", range: [0, 1.05], title: { text: "share", font: { size: 12 } }, tickformat: ".0%", dtick: 0.25, showgrid: false, zeroline: false } };
  const all = [
    ["chart-rate", rate, layout(colour, "per second", {})],
    ["chart-latency", bands, layout(colour, "ms", log)],
    ["chart-failures", failures, layout(colour, "per second", { barmode: "stack" })],
    ["chart-sender", sender, layout(colour, "ms of lag", share)],
  ];
  for (const [id, traces, what] of all) {
    if (traces.length) Plotly.react(id, [...traces, ...events], what, { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]], displayModeBar: "hover" });
  }
  document.body.dataset.charts = "drawn";
}

// The library comes with the page, compressed. The page's policy lets it in by its hash, and nothing else.
async function load() {
  const bytes = Uint8Array.from(atob(document.getElementById("library").textContent), (char) => char.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(unpacked).text();
  document.head.append(script);
  charts();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", charts);
}

load().catch((error) => {
  document.getElementById("no-charts").hidden = false;
  document.body.dataset.charts = "failed";
  console.error(error);
});
