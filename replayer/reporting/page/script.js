// --- the charts of a run ---

function layout(colour, title, extra) {
  const axis = axes(colour);
  const long = (data.at.at(-1) ?? 0) >= 3600;
  const end = Math.max(data.length, 1, ...data.marks.map((mark) => mark.at)) * 1.01;
  const marks = data.marks.slice(0, 60).map((mark) => ({
    type: "line", xref: "x", yref: "paper", x0: moment(mark.at), x1: moment(mark.at), y0: 0, y1: 1,
    line: { color: colour("soft"), width: 1, dash: "dot" },
  }));
  return {
    ...look(colour),
    xaxis: { ...axis, type: "date", tickformat: long ? "%-H:%M:%S" : "%-M:%S", hoverformat: "%-H:%M:%S", range: [moment(0), moment(end)], nticks: innerWidth < 640 ? 5 : 10 },
    yaxis: { ...axis, title: { text: title, font: { size: 12 } }, rangemode: "tozero" },
    yaxis2: { overlaying: "y", side: "right", range: [0, 1], visible: false, fixedrange: true },
    shapes: marks,
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

  const gain = [];
  if (some(data.gain)) {
    const there = data.real_p95.map((value) => (value === null ? null : value * 1000));
    gain.push(line(colour, "gain (right)", data.gain, "c-sent", { yaxis: "y3", hovertemplate: "%{y:.1%} of the demand" }));
    if (some(data.real_p95)) gain.push(line(colour, "real, p95", there, "c-real", { hovertemplate: "%{y:.1f} ms" }));
    for (const limit of data.limits) {
      gain.push({ type: "scatter", mode: "lines", name: plain(limit.text), x: [moment(0), moment(Math.max(data.length, 1))], y: [limit.at, limit.at], hoverinfo: "skip", line: { color: colour("c-failed"), width: 2, dash: "dash" } });
    }
  }
  document.getElementById("figure-gain").hidden = !gain.length;

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
    ["chart-gain", gain, layout(colour, "ms", share)],
    ["chart-failures", failures, layout(colour, "per second", { barmode: "stack" })],
    ["chart-sender", sender, layout(colour, "ms of lag", share)],
  ];
  for (const [id, traces, what] of all) {
    if (traces.length) Plotly.react(id, [...traces, ...events], what, buttons);
  }
  document.body.dataset.charts = "drawn";
}

start(charts);
