// --- the charts of a verdict ---

const LOOKS = {
  incident: { name: "the incident", key: "c-then", fill: "tozeroy", width: 1.5 },
  before: { name: "the clone before", key: "c-before", dash: "dot", width: 2 },
  now: { name: "the clone now", key: "c-now", width: 2.5 },
};
const logarithmic = document.getElementById("logarithmic");

// Where the incident is worse a hundred times over, the clone would be a line on the ground; then decades tell more.
if (logarithmic) {
  const known = data.curves.map((curve) => curve.p95.filter((value) => value > 0)).filter((values) => values.length);
  const tops = known.map((values) => Math.max(...values));
  logarithmic.checked = tops.length > 1 && Math.max(...tops) > 100 * Math.min(...tops);
  logarithmic.addEventListener("change", () => window.Plotly && charts());
}

function lines(colour, what, scale, hover) {
  return data.curves.filter((curve) => curve[what].some((value) => value !== null)).map((curve) => {
    const look = LOOKS[curve.name];
    return {
      type: "scatter", mode: data.at.length > 1 ? "lines" : "markers", name: look.name, x: data.at.map(moment),
      y: curve[what].map((value) => (value === null ? null : value * scale)), connectgaps: false, hovertemplate: hover,
      line: { color: colour(look.key), width: look.width, dash: look.dash ?? "solid" },
      fill: look.fill, fillcolor: colour("c-then-area"),
    };
  });
}

function layoutOf(colour, title, yaxis, limits) {
  const axis = axes(colour);
  const end = (data.at.at(-1) ?? 0) + data.interval / 2;
  const shapes = limits.map((limit) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: limit.y, y1: limit.y, line: { color: colour("c-limit"), width: 1.5, dash: "dash" } }));
  const annotations = limits.map((limit) => ({
    xref: "paper", x: 1, xanchor: "right", y: yaxis.type === "log" ? Math.log10(limit.y) : limit.y, yanchor: "bottom", showarrow: false,
    text: plain(limit.text), font: { size: 11, color: colour("c-limit") },
  }));
  if (data.gave_way !== null && data.gave_way !== undefined) {
    shapes.push({ type: "line", yref: "paper", y0: 0, y1: 1, x0: moment(data.gave_way), x1: moment(data.gave_way), line: { color: colour("c-then"), width: 1.5, dash: "dot" } });
    annotations.push({ yref: "paper", y: 1, yanchor: "top", x: moment(data.gave_way), xanchor: "left", showarrow: false, text: " gave way", font: { size: 11, color: colour("c-then") } });
  }
  return {
    ...look(colour),
    showlegend: false,
    margin: { l: 58, r: 14, t: 14, b: 34 },
    xaxis: { ...axis, type: "date", tickformat: end >= 3600 ? "%-H:%M:%S" : "%-M:%S", hoverformat: "%-H:%M:%S", range: [moment(0), moment(Math.max(end, 1))], nticks: innerWidth < 640 ? 5 : 10, ...(end < 10 ? { dtick: 1000 } : {}) },
    yaxis: { ...axis, title: { text: title, font: { size: 12 } }, rangemode: "tozero", ...yaxis },
    shapes, annotations,
  };
}

function charts() {
  const colour = colours();
  const limitsOf = (what, scale) => data.limits.filter((limit) => limit.of === what).map((limit) => ({ y: limit.at * scale, text: limit.text }));
  const times = lines(colour, "p95", 1, "%{y:.3g} s");
  const values = times.flatMap((trace) => trace.y).filter((value) => value > 0);
  let p95 = { ticksuffix: " s" };
  if (logarithmic?.checked && values.length) {
    const all = [...values, ...limitsOf("p95", 1).map((limit) => limit.y)].filter((value) => value > 0);
    const range = [Math.floor(Math.log10(Math.min(...all))), Math.ceil(Math.log10(Math.max(...all)))];
    if (range[0] === range[1]) range[1] += 1;
    const ticks = Array.from({ length: range[1] - range[0] + 1 }, (_, place) => range[0] + place);
    const named = (power) => (power < -3 ? `${10 ** (power + 6)} µs` : power < 0 ? `${10 ** (power + 3)} ms` : `${10 ** power} s`);
    p95 = { type: "log", range, tickvals: ticks.map((power) => 10 ** power), ticktext: ticks.map(named) };
    for (const trace of times) trace.fill = trace.fill ? "tozeroy" : undefined;
  }
  const most = Math.max(0.01, ...data.curves.flatMap((curve) => curve.failed.filter((value) => value !== null)));
  const failures = { tickformat: most < 0.05 ? ".1%" : ".0%", range: [0, Math.min(1.02, most * 1.15)] };
  const all = [
    ["chart-rate", lines(colour, "rate", 1, "%{y:.1f}/s"), layoutOf(colour, "per second", {}, [])],
    ["chart-p95", times, layoutOf(colour, "", p95, limitsOf("p95", 1))],
    ["chart-failed", lines(colour, "failed", 1, "%{y:.2%}"), layoutOf(colour, "", failures, limitsOf("failed", 1))],
  ];
  for (const [id, traces, what] of all) {
    const place = document.getElementById(id);
    if (!place) continue;
    place.closest("figure").hidden = !traces.length;
    if (traces.length) Plotly.react(id, traces, what, buttons);
  }
  document.body.dataset.charts = "drawn";
}

start(charts);
