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

function axes(colour) {
  return { gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("line"), tickcolor: colour("line") };
}

function look(colour) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("soft"), family: "system-ui, sans-serif", size: 12 },
    margin: { l: 54, r: 58, t: 34, b: 34 },
    hovermode: "x unified",
    hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("line"), font: { color: colour("ink") } },
    legend: { font: { size: innerWidth < 640 ? 11 : 12 }, orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "normal", bgcolor: "rgba(0,0,0,0)" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("soft"), activecolor: colour("accent") },
  };
}

const buttons = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]], displayModeBar: "hover" };

// The library comes with the page, compressed. The page's policy lets it in by its hash, and nothing else.
async function load(charts) {
  const bytes = Uint8Array.from(atob(document.getElementById("library").textContent), (char) => char.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(unpacked).text();
  document.head.append(script);
  charts();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", charts);
}

// `charts` draws them all, and again when the colours change.
function start(charts) {
  load(charts).catch((error) => {
    document.getElementById("no-charts").hidden = false;
    document.body.dataset.charts = "failed";
    console.error(error);
  });
}
