// The live page. Owns how a snapshot looks; computes nothing that the exporter already says, and stores nothing.
// Everything that comes from the snapshot is inserted as text. null means unknown and shows as a dash with the reason.

const POLL_MS = 1000;
const TIMEOUT_MS = 2000; // a hanging exporter must show within 3 s
const HISTORY_SECONDS = 900;
const SHORTEST_AXIS_SECONDS = 120;
const BUCKET_SECONDS = 5; // one drawn point; the gauges are means over a window that is longer than this
const JOULES_PER_KWH = 3.6e6;
const SECONDS_PER_HOUR = 3600;
const OPEN_UP_TO_SERVERS = 6; // with more servers the details start closed
const WIDEST_FIRST = ["facility", "host", "gpu"];
const BOUNDARY_NAMES = { gpu: "GPU", host: "host", facility: "facility", cpu: "CPU", dram: "DRAM", outlet: "outlet" };
const PHASES = ["prefill", "decode", "unsplit", "idle"];
const METHOD_NOTES = {
  role: "by the server's role",
  counters: "by the engine's own phase seconds",
  fit: "fitted to its steps, tokens and energy",
  weights: "by the configured ratio of joules per token",
};
const PHASE_NOTES = { unsplit: "busy, prefill and decode not told apart", idle: "no request running" };
const DASH = "—";

// ---- numbers to text

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const formats = new Map();

function decimals(value, digits) {
  if (!formats.has(digits)) {
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    formats.set(digits, new Intl.NumberFormat("en-US", options));
  }
  return formats.get(digits).format(value);
}

/** Three significant digits below 1000, whole numbers above. */
function plain(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-6) return value.toExponential(2);
  return decimals(value, size >= 99.95 ? 0 : Math.min(8, 2 - Math.floor(Math.log10(size) + 1e-12)));
}

/** The same with an SI prefix from `from` upwards: [number, prefix]. */
function scaled(value, from = 1e5) {
  const size = Math.abs(value);
  const steps = [
    [1e15, "P"],
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ];
  const step = size >= from ? steps.find(([factor]) => size >= factor * 0.9995) : undefined;
  return step ? [plain(value / step[0]), step[1]] : [plain(value), ""];
}

function amount(value, unit, from) {
  if (!isNumber(value)) return DASH;
  const [number, prefix] = scaled(value, from);
  return unit || prefix ? `${number} ${prefix}${unit}` : number;
}

/** Large numbers of things: 1.89 million. */
function many(value) {
  if (!isNumber(value)) return DASH;
  if (value >= 999_500_000) return `${plain(value / 1e9)} billion`;
  return value >= 999_500 ? `${plain(value / 1e6)} million` : plain(value);
}

const count = (value) => (isNumber(value) ? decimals(value, 0) : DASH);
const watts = (value) => amount(value, "W", 1e4);
const joules = (value) => amount(value, "J", 1e3);
const wattHours = (value) => (isNumber(value) ? amount((value / JOULES_PER_KWH) * 1000, "Wh", 1e3) : DASH);
const percent = (ratio) =>
  isNumber(ratio) ? `${ratio > 0 && ratio < 0.0995 ? decimals(ratio * 100, 1) : decimals(ratio * 100, 0)} %` : DASH;
const dollars = (value) => (isNumber(value) ? `$${Math.abs(value) >= 1 ? decimals(value, 2) : plain(value)}` : DASH);

/** Percent that never rounds a coverage below its limit up to the limit. */
const coveragePercent = (ratio) => (isNumber(ratio) ? `${Math.floor(ratio * 100 + 1e-9)} %` : DASH);

function duration(seconds) {
  if (!isNumber(seconds)) return DASH;
  const size = Math.max(0, seconds);
  if (size < 10) return `${decimals(size, 1)} s`;
  if (size < 120) return `${decimals(size, 0)} s`;
  if (size < 7200) return `${decimals(Math.floor(size / 60), 0)} min`;
  return size < 172_800 ? `${plain(size / 3600)} h` : `${decimals(Math.floor(size / 86_400), 0)} days`;
}

const clockTime = (unixSeconds) =>
  new Date(unixSeconds * 1000).toLocaleTimeString("en-GB", {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    timeZoneName: "short",
  });
const dateTime = (unixSeconds) =>
  new Date(unixSeconds * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "long" });

/** Sum of the known values, and how many are known. */
function sum(values) {
  const known = values.filter(isNumber);
  return { total: known.length ? known.reduce((total, value) => total + value, 0) : null, known: known.length };
}

const ratio = (numerator, denominator) =>
  isNumber(numerator) && isNumber(denominator) && denominator > 0 ? numerator / denominator : null;

// ---- DOM in place

const byId = (id) => document.getElementById(id);

function element(tag, className = "", ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/** Change text only where it differs, in the same text node: a selection elsewhere survives. */
function setText(node, text) {
  if (!node.firstChild) node.append("");
  if (node.firstChild.data !== text) node.firstChild.data = text;
}

function setClass(node, className) {
  if (node.className !== className) node.className = className;
}

function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

/** A text that is hidden when it is empty. */
function setOptional(node, text) {
  setHidden(node, !text);
  setText(node, text);
}

/** One child per item, kept by key: created once, updated in place, removed when its item is gone. */
class Children {
  constructor(parent, create) {
    this.parent = parent;
    this.create = create;
    this.views = new Map();
  }

  update(items, keyOf, ...context) {
    const gone = new Set(this.views.keys());
    let before = null;
    for (const item of items) {
      const key = keyOf(item);
      gone.delete(key);
      if (!this.views.has(key)) this.views.set(key, this.create(item));
      const view = this.views.get(key);
      const place = before ? before.nextSibling : this.parent.firstChild;
      if (view.node !== place) this.parent.insertBefore(view.node, place);
      before = view.node;
      view.update(item, ...context);
    }
    for (const key of gone) {
      this.views.get(key).node.remove();
      this.views.delete(key);
    }
  }
}

/** A table of rows {key, className, cells}; a cell is a text or {text, note, badge, className}. */
class Table {
  constructor(label, columns) {
    this.columns = columns;
    const head = withRole(element("tr"), "row");
    for (const { title, numeric } of columns) {
      const cell = withRole(element("th", numeric ? "number" : "", title), "columnheader");
      cell.scope = "col";
      head.append(cell);
    }
    const body = withRole(element("tbody"), "rowgroup");
    // on a phone CSS lays the rows out as blocks, which would take the table's meaning from it: hence the roles
    this.node = withRole(element("table", "", withRole(element("thead", "", head), "rowgroup"), body), "table");
    this.node.setAttribute("aria-label", label);
    this.rows = new Children(body, () => new Row(columns));
  }

  update(rows) {
    this.rows.update(rows, (row) => row.key);
  }
}

class Row {
  constructor(columns) {
    this.node = withRole(element("tr"), "row");
    this.cells = columns.map(({ title, numeric }, index) => {
      const cell = element(index ? "td" : "th");
      if (!index) cell.scope = "row";
      withRole(cell, index ? "cell" : "rowheader").dataset.title = title;
      const parts = {
        cell,
        base: numeric ? "number" : "",
        text: element("span", "text"),
        badge: element("span", "badge"),
        note: element("span", "note"),
      };
      cell.append(element("span", "cell", parts.text, " ", parts.badge, " ", parts.note));
      this.node.append(cell);
      return parts;
    });
  }

  update({ className = "", cells }) {
    setClass(this.node, className);
    this.cells.forEach((parts, index) => {
      const given = typeof cells[index] === "object" ? cells[index] : { text: cells[index] };
      setText(parts.text, given.text ?? DASH);
      setOptional(parts.badge, given.badge ?? "");
      setOptional(parts.note, given.note ?? "");
      setClass(parts.cell, `${parts.base} ${given.className ?? ""}`.trim());
    });
  }
}

function withRole(node, role) {
  node.setAttribute("role", role);
  return node;
}

// ---- history and sparklines

/** What the headline numbers were while this page was open: key -> [[unix seconds, value or null], …]. */
class History {
  constructor() {
    this.series = new Map();
    this.lastSeconds = 0;
  }

  record(atSeconds, values) {
    if (atSeconds < this.lastSeconds - BUCKET_SECONDS) this.series.clear(); // the exporter's wall clock was set back
    this.lastSeconds = atSeconds;
    for (const [key, value] of values) {
      const points = this.series.get(key) ?? [];
      const last = points.at(-1);
      const sameBucket = last && Math.floor(last[0] / BUCKET_SECONDS) === Math.floor(atSeconds / BUCKET_SECONDS);
      if (sameBucket) points.pop();
      points.push([atSeconds, isNumber(value) ? value : null]);
      this.series.set(key, points);
    }
    for (const [key, points] of this.series) {
      while (points.length && points[0][0] < atSeconds - HISTORY_SECONDS) points.shift();
      if (!points.length) this.series.delete(key);
    }
  }

  points(key) {
    return this.series.get(key) ?? [];
  }
}

class Sparkline {
  constructor() {
    this.svg = withRole(
      svgElement("svg", { viewBox: "0 0 100 32", preserveAspectRatio: "none", class: "spark" }),
      "img",
    );
    this.area = svgElement("path", { class: "area" });
    this.line = svgElement("path", { class: "line" });
    this.svg.append(this.area, this.line);
    this.caption = element("span", "note");
    this.node = element("div", "history", this.svg, this.caption);
  }

  update(points, nowSeconds, label, format) {
    const known = points.map(([, value]) => value).filter(isNumber);
    setHidden(this.node, !known.length);
    if (!known.length) return;
    const [lowest, highest] = [Math.min(...known), Math.max(...known)];
    const age = nowSeconds - points[0][0];
    const axisSeconds = Math.min(HISTORY_SECONDS, Math.max(SHORTEST_AXIS_SECONDS, age));
    const x = (at) => 100 * (1 - (nowSeconds - at) / axisSeconds);
    const y = (value) => 31 - 29 * (highest > 0 ? value / highest : 0); // from zero, so that a halving looks like one
    const runs = unbroken(points).map((run) => run.map(([at, value]) => `${x(at).toFixed(2)} ${y(value).toFixed(2)}`));
    const line = runs.map((run) => `M${run.join("L")}${run.length === 1 ? "h.01" : ""}`).join("");
    const area = runs
      .map((run) => `M${run[0].split(" ")[0]} 32L${run.join("L")}L${run.at(-1).split(" ")[0]} 32Z`)
      .join("");
    setAttribute(this.line, "d", line);
    setAttribute(this.area, "d", area);
    const span = age < axisSeconds ? "since this page opened" : `last ${duration(axisSeconds)}`;
    setText(this.caption, `${span}: ${format(lowest)} to ${format(highest)}`);
    setAttribute(this.svg, "aria-label", `${label}, ${span}: lowest ${format(lowest)}, highest ${format(highest)}`);
  }
}

function svgElement(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** Stretches of history without a gap: unknown values and pauses are not bridged. */
function unbroken(points) {
  const runs = [];
  let last = null;
  for (const point of points) {
    const joins = last && last[1] !== null && point[0] - last[0] <= 2.5 * BUCKET_SECONDS;
    if (point[1] !== null && !joins) runs.push([]);
    if (point[1] !== null) runs.at(-1).push(point);
    last = point;
  }
  return runs;
}

// ---- what a snapshot says of a server

/** The row of a window that stands for the whole server: its only model, or the sum over its models. */
function wholeServer(window) {
  const models = window?.models ?? [];
  return models.length === 1 ? models[0] : (models.find(({ model }) => model === "") ?? null);
}

const windowAt = (server, boundary) => server.window?.boundaries.find((row) => row.boundary === boundary) ?? null;
const tokenSource = (snapshot, server) =>
  snapshot.sources.find(({ kind, source }) => kind === "tokens" && source === server.name) ?? null;

/** Boundaries at which this server was given energy, widest first. */
function measuredBoundaries(server) {
  return WIDEST_FIRST.filter(
    (boundary) => windowAt(server, boundary) || server.phases.some((row) => isNumber(row.joules[boundary])),
  );
}

const chosenBoundary = (server, chosen) => chosen || measuredBoundaries(server)[0] || null;

function energyTotal(server, boundary, phase = null) {
  const rows = server.phases.filter((row) => phase === null || row.phase === phase);
  return sum(rows.map((row) => row.joules[boundary])).total;
}

function costTotal(server, component, phase = null) {
  const rows = server.phases.filter((row) => phase === null || row.phase === phase);
  return sum(rows.map((row) => row.dollars[component])).total;
}

/** The three bases of cost: all, of use, and electricity alone. */
function costText(server) {
  const [all, idle] = [null, "idle"].map(
    (phase) => sum(["capacity", "energy"].map((component) => costTotal(server, component, phase))).total,
  );
  if (!isNumber(all)) return "";
  return `. Cost ${dollars(all)}, busy ${dollars(all - idle)}, electricity ${dollars(costTotal(server, "energy"))}`;
}

/** Electricity of a server in dollars per second. PUE is in the facility's watts already, in no other's. */
function energyDollarsPerSecond(snapshot, server) {
  const { electricity_dollars_per_joule: price, pue_ratio: pue } = snapshot.prices;
  const boundary = measuredBoundaries(server)[0];
  const power = windowAt(server, boundary)?.power_watts;
  if (!isNumber(price) || !isNumber(power)) return null;
  return power * price * (boundary === "facility" ? 1 : pue);
}

/** What the exporter divides by for tokens per dollar. A lease that covers power is not added to twice. */
function dollarsPerSecond(snapshot, server) {
  if (server.capacity_includes_electricity) return server.capacity_dollars_per_second;
  const energy = energyDollarsPerSecond(snapshot, server);
  const priced = isNumber(snapshot.prices.electricity_dollars_per_joule) && measuredBoundaries(server).length > 0;
  if (priced && energy === null) return null; // a part that is priced but not measured is not zero
  return sum([server.capacity_dollars_per_second, energy]).total;
}

// ---- why a value is absent: one sentence

const needs = (snapshot) => `needs ${coveragePercent(snapshot.min_coverage)}`;

/** Reasons that hold for every number of a server; "" where there is none. */
function whyNothing(snapshot, server) {
  const source = tokenSource(snapshot, server);
  if (source?.up === false && !wholeServer(server.window)) return `server does not answer: ${source.reason || "error"}`;
  if (!source || source.up === null) return "server not read yet";
  if (!wholeServer(server.window)) return "waiting for a second token reading";
  return "";
}

function whyNoRate(snapshot, server, quantity) {
  const general = whyNothing(snapshot, server);
  if (general) return general;
  if (server.tokens.every((row) => row[quantity] === null)) return "the engine does not count them";
  const { covered_seconds: covered, start_seconds: start, end_seconds: end } = server.window;
  const down = tokenSource(snapshot, server).up === false ? "; server does not answer" : "";
  return `tokens read in ${duration(covered)} of the last ${duration(Math.max(snapshot.window_seconds, end - start))}, ${needs(snapshot)}${down}`;
}

function whyNoEnergyRatio(snapshot, server, boundary) {
  const general = whyNothing(snapshot, server);
  if (general) return general;
  if (!boundary) return "no energy of this server is measured";
  const row = windowAt(server, boundary);
  if (!row) return `${BOUNDARY_NAMES[boundary]} energy of this server is not measured${downMeters(snapshot, boundary)}`;
  if (row.coverage_ratio < snapshot.min_coverage) {
    return `coverage ${coveragePercent(row.coverage_ratio)}, ${needs(snapshot)}${downMeters(snapshot, boundary)}`;
  }
  if (server.tokens.every(({ output_tokens: output }) => output === null))
    return "the engine does not count output tokens";
  return "no energy was measured in the window";
}

function whyNoCostRatio(snapshot, server) {
  const general = whyNothing(snapshot, server);
  if (general) return general;
  const electricity = snapshot.prices.electricity_dollars_per_joule;
  if (server.capacity_dollars_per_second === null && electricity === null) return "no price is configured or known";
  const widest = measuredBoundaries(server)[0];
  const row = windowAt(server, widest);
  if (electricity !== null && !widest) return "electricity is priced, but no energy of this server is measured";
  if (row && row.coverage_ratio < snapshot.min_coverage) {
    return `${BOUNDARY_NAMES[widest]} coverage ${coveragePercent(row.coverage_ratio)}, ${needs(snapshot)}${downMeters(snapshot, widest)}`;
  }
  return "tokens and everything priced were not measured together for long enough";
}

function downMeters(snapshot, boundary) {
  const physical = boundary === "facility" ? ["host", "outlet"] : [boundary];
  const readers = new Set(
    snapshot.meters.filter(({ meter }) => physical.includes(meter.boundary)).map(({ meter }) => meter.source),
  );
  const never = snapshot.sources.filter(
    ({ kind, last_success_unix_seconds: last }) => kind === "power" && last === null,
  );
  const down = snapshot.sources.filter((row) => row.up === false && (readers.has(row.source) || never.includes(row)));
  return down.length
    ? `; ${down.map(({ source, reason }) => `${source} is down: ${reason || "error"}`).join(", ")}`
    : "";
}

// ---- fleet

class FleetView {
  constructor(node) {
    this.tiles = new Children(node, ({ title }) => {
      const [value, unit, note] = [element("span", "value"), element("span", "unit"), element("dd", "note")];
      return {
        node: element("div", "tile", element("dt", "", title), element("dd", "", value, " ", unit), note),
        update(tile) {
          setText(value, tile.value);
          setText(unit, tile.value === DASH ? "" : tile.unit);
          setText(note, tile.note);
        },
      };
    });
  }

  update(snapshot, chosen) {
    this.tiles.update(fleetTiles(snapshot, chosen), ({ title }) => title);
  }
}

/** Boundary of fleet numbers: the chosen one, else the widest that every server with energy has. One sum, one boundary. */
function fleetBoundary(servers, chosen) {
  if (chosen) return chosen;
  const measured = servers.map(measuredBoundaries).filter((boundaries) => boundaries.length);
  return WIDEST_FIRST.find((boundary) => measured.length && measured.every((row) => row.includes(boundary))) ?? null;
}

function fleetTiles(snapshot, chosen) {
  const { servers } = snapshot;
  const of = (known) =>
    known === servers.length ? `${known} of ${servers.length} servers` : `only ${known} of ${servers.length} servers`;
  const boundary = fleetBoundary(servers, chosen);
  const rate = (server) => wholeServer(server.window)?.output_tokens_per_second ?? null;
  const power = (server, at) => windowAt(server, at)?.power_watts ?? null;
  const both = (other) => servers.filter((server) => isNumber(rate(server)) && isNumber(other(server)));
  const quotient = (other) => {
    const rows = both(other);
    return { value: ratio(sum(rows.map(rate)).total, sum(rows.map(other)).total), known: rows.length };
  };

  const tokens = sum(servers.map(rate));
  const input = sum(servers.map((server) => wholeServer(server.window)?.input_tokens_per_second));
  const powers = WIDEST_FIRST.map((at) => ({ at, ...sum(servers.map((server) => power(server, at))) })).filter(
    ({ known }) => known,
  );
  const shown = powers.find(({ at }) => at === boundary) ?? null;
  const perJoule = quotient((server) => power(server, boundary));
  const cost = sum(servers.map((server) => dollarsPerSecond(snapshot, server)));
  const capacity = sum(servers.map((server) => server.capacity_dollars_per_second)).total;
  const energy = sum(servers.map((server) => energyDollarsPerSecond(snapshot, server))).total;
  const perDollar = quotient((server) => dollarsPerSecond(snapshot, server));
  const perHour = (value) => (isNumber(value) ? dollars(value * SECONDS_PER_HOUR) : DASH);
  const at = boundary ? `${BOUNDARY_NAMES[boundary]}, ` : "";
  return [
    {
      title: "Output tokens",
      value: amount(tokens.total, ""),
      unit: "tokens/s",
      note: `${of(tokens.known)}; input ${amount(input.total, "")} tokens/s`,
    },
    {
      title: "Power",
      value: watts(shown?.total).replace(/ \S+$/, ""),
      unit: shown ? watts(shown.total).replace(/^\S+ /, "") : "",
      note: powers.length
        ? powers
            .reverse()
            .map(
              (row) =>
                `${BOUNDARY_NAMES[row.at]} ${watts(row.total)}${row.known < servers.length ? ` (${of(row.known)})` : ""}`,
            )
            .join("; ")
        : "no power is measured",
    },
    {
      title: "Tokens per watt-second",
      value: isNumber(perJoule.value) ? plain(perJoule.value) : DASH,
      unit: "tokens/J",
      note: isNumber(perJoule.value)
        ? `${at}${many(perJoule.value * JOULES_PER_KWH)} tokens/kWh; ${of(perJoule.known)}`
        : `no server has both tokens and ${boundary ? `${BOUNDARY_NAMES[boundary]} ` : ""}power`,
    },
    {
      title: "Cost",
      value: perHour(cost.total),
      unit: "per hour",
      note: isNumber(cost.total)
        ? `capacity ${perHour(capacity)}, energy ${perHour(energy)}; ${of(cost.known)}`
        : "no price, or nothing measured that is priced",
    },
    {
      title: "Tokens per dollar",
      value: many(perDollar.value),
      unit: "tokens/$",
      note: isNumber(perDollar.value)
        ? `${perMillion(perDollar.value)}; ${of(perDollar.known)}`
        : "no server has both tokens and a cost",
    },
    idleTile(snapshot, boundary, of),
  ];
}

function idleTile(snapshot, boundary, of) {
  const servers = snapshot.servers.filter((server) => isNumber(energyTotal(server, boundary)));
  const given = sum(servers.map((server) => energyTotal(server, boundary))).total;
  const idle = sum(servers.map((server) => energyTotal(server, boundary, "idle"))).total ?? 0;
  const share = ratio(idle, given);
  const unattributed = ["gpu", "host"].map((physical) => {
    const rows = snapshot.meters.filter(
      ({ meter, unattributed_joules: rest }) => meter.boundary === physical && isNumber(rest),
    );
    const rest = ratio(sum(rows.map((row) => row.unattributed_joules)).total, sum(rows.map((row) => row.joules)).total);
    return rest ? `${percent(rest)} of ${BOUNDARY_NAMES[physical]} energy is no server’s` : "";
  });
  const notes = [
    isNumber(share) ? `${BOUNDARY_NAMES[boundary]} energy, ${of(servers.length)}` : "no energy counted yet",
    ...unattributed,
  ];
  return { title: "Idle share of energy", value: percent(share), unit: "", note: notes.filter(Boolean).join("; ") };
}

const perMillion = (tokensPerDollar) =>
  tokensPerDollar > 0 ? `${dollars(1e6 / tokensPerDollar)} per million tokens` : "money is spent, no tokens come out";

// ---- servers

class Headline {
  constructor(title) {
    this.title = title;
    this.value = element("span", "value");
    this.unit = element("span", "unit");
    this.why = element("p", "why");
    this.note = element("p", "note");
    this.spark = new Sparkline();
    this.node = element(
      "div",
      "headline",
      element("h4", "", title),
      element("p", "big", this.value, " ", this.unit),
      this.why,
      this.note,
      this.spark.node,
    );
  }

  update({ value, text, unit, why, note, points, nowSeconds, format }) {
    const known = isNumber(value);
    setText(this.value, known ? text : DASH);
    setText(this.unit, unit);
    setOptional(this.why, known ? "" : why);
    setOptional(this.note, note);
    this.spark.update(points, nowSeconds, this.title, format);
  }
}

class ServerView {
  constructor(open) {
    this.name = element("h3", "raw");
    this.state = element("span", "state");
    this.simulated = element("span", "badge simulated", "simulated");
    this.facts = element("p", "facts raw");
    this.labels = new Children(element("ul", "chips"), () => {
      const node = element("li", "raw");
      return { node, update: ([key, value]) => setText(node, `${key}=${value}`) };
    });
    this.trouble = element("p", "trouble raw");
    this.headlines = [
      new Headline("Output tokens per second"),
      new Headline("Output tokens per joule"),
      new Headline("Output tokens per dollar"),
    ];
    this.response = element("p", "response");
    this.window = element("p", "note");
    this.power = new Table("Power and energy by boundary", [
      { title: "Boundary" },
      { title: "Power", numeric: true },
      { title: "Coverage", numeric: true },
      { title: "Energy so far", numeric: true },
    ]);
    this.bar = element("div", "bar");
    this.segments = PHASES.map((phase) => this.bar.appendChild(element("span", `phase ${phase}`)));
    withRole(this.bar, "img");
    this.idle = element("p", "idle");
    this.phases = new Table("Energy and cost so far by phase", [
      { title: "Phase" },
      { title: "Energy", numeric: true },
      { title: "Share", numeric: true },
      { title: "Capacity", numeric: true },
      { title: "Electricity", numeric: true },
    ]);
    this.split = element("p", "note");
    this.models = new Table("Tokens and requests by model", [
      { title: "Model" },
      { title: "Output tokens", numeric: true },
      { title: "Input tokens", numeric: true },
      { title: "Cached input", numeric: true },
      { title: "Requests done", numeric: true },
    ]);
    this.queue = element("p", "queue");
    this.notes = new Children(element("ul", "notes"), () => {
      const node = element("li", "raw");
      return { node, update: (note) => setText(node, note.replaceAll("\u0060", "")) };
    });
    const group = (title, ...parts) => element("section", "group", element("h4", "", title), ...parts);
    const details = element(
      "details",
      "",
      element("summary", "", "Power, energy, cost and totals"),
      element(
        "div",
        "groups",
        element(
          "div",
          "group",
          group("Power by boundary", this.power.node, this.window),
          group("Tokens and requests", this.queue, this.models.node),
        ),
        group("Energy and cost so far", this.idle, this.bar, this.phases.node, this.split),
      ),
    );
    details.open = open;
    this.node = element(
      "article",
      "server",
      element("div", "title", this.name, this.state, this.simulated, this.facts, this.labels.parent),
      this.trouble,
      element("div", "headlines", ...this.headlines.map(({ node }) => node)),
      this.response,
      this.notes.parent,
      details,
    );
  }

  update(server, { snapshot, chosen, history }) {
    const source = tokenSource(snapshot, server);
    setText(this.name, server.name);
    showState(this.state, source?.up ?? null, "");
    setHidden(this.simulated, !server.simulated);
    setText(this.facts, facts(server));
    this.labels.update(Object.entries(server.labels), ([key]) => key);
    const age = lastSuccess(snapshot, source);
    setOptional(
      this.trouble,
      source?.up === false
        ? `Server does not answer (${source.reason || "error"}; last answer: ${age}). ${source.message}`
        : "",
    );
    this.updateHeadlines(server, snapshot, chosen, history);
    setOptional(this.response, responseText(server, chosen));
    this.notes.update(server.notes, (note) => note);
    setText(this.window, windowText(snapshot, server));
    this.power.update(powerRows(snapshot, server));
    this.updatePhases(server, chosen);
    const input = { computed: "input: computed", all: "input: all prompt tokens, cached or not" }[server.input_kind];
    setText(
      this.queue,
      [`${count(server.requests_running)} running`, `${count(server.requests_waiting)} waiting`, input]
        .filter(Boolean)
        .join(" · "),
    );
    this.models.update(modelRows(server));
    setHidden(this.models.node, !server.tokens.length);
  }

  updateHeadlines(server, snapshot, chosen, history) {
    const row = wholeServer(server.window);
    const boundary = chosenBoundary(server, chosen);
    const nowSeconds = snapshot.at_unix_seconds;
    const [rate, perJoule, perDollar] = [
      row?.output_tokens_per_second,
      row?.output_tokens_per_joule[boundary],
      row?.output_tokens_per_dollar,
    ];
    const shared = (metric) => ({ points: history.points(historyKey(server, metric)), nowSeconds });
    const input = isNumber(row?.input_tokens_per_second)
      ? `input ${amount(row.input_tokens_per_second, "")} tokens/s`
      : "";
    const processed = row?.processed_tokens_per_joule[boundary];
    const name = BOUNDARY_NAMES[boundary] ?? "";
    this.headlines[0].update({
      ...shared("rate"),
      value: rate,
      text: amount(rate, ""),
      unit: "tokens/s",
      why: whyNoRate(snapshot, server, "output_tokens"),
      note: input,
      format: plain,
    });
    this.headlines[1].update({
      ...shared(boundary),
      value: perJoule,
      text: isNumber(perJoule) ? plain(perJoule) : DASH,
      unit: `tokens per watt-second${name ? `, ${name}` : ""}`,
      why: whyNoEnergyRatio(snapshot, server, boundary),
      note: energyNote(perJoule, processed),
      format: plain,
    });
    this.headlines[2].update({
      ...shared("dollar"),
      value: perDollar,
      text: many(perDollar),
      unit: "tokens/$",
      why: whyNoCostRatio(snapshot, server),
      note: isNumber(perDollar) ? perMillion(perDollar) : "",
      format: many,
    });
  }

  updatePhases(server, chosen) {
    const boundary = chosenBoundary(server, chosen);
    const total = energyTotal(server, boundary);
    const shares = Object.fromEntries(
      PHASES.map((phase) => [phase, ratio(energyTotal(server, boundary, phase) ?? 0, total)]),
    );
    PHASES.forEach((phase, index) => {
      setHidden(this.segments[index], !shares[phase]);
      this.segments[index].style.flexGrow = String(shares[phase] ?? 0);
    });
    setHidden(this.bar, !total);
    setAttribute(
      this.bar,
      "aria-label",
      PHASES.filter((phase) => shares[phase])
        .map((phase) => `${phase} ${percent(shares[phase])}`)
        .join(", "),
    );
    setText(
      this.idle,
      isNumber(shares.idle)
        ? `Idle: ${percent(shares.idle)} of ${BOUNDARY_NAMES[boundary]} energy${costText(server)}`
        : "No energy counted yet",
    );
    const rows = PHASES.filter((phase) => server.phases.some((row) => row.phase === phase)).map((phase) =>
      phaseRow(server, boundary, phase, shares[phase]),
    );
    this.phases.update(
      rows.length > 1 ? [...rows, phaseRow(server, boundary, null, isNumber(total) && total > 0 ? 1 : null)] : rows,
    );
    setHidden(this.phases.node, !rows.length);
    setText(this.split, splitText(server, boundary));
    setHidden(this.split, !rows.length);
  }
}

const historyKey = (server, metric) => JSON.stringify([server.name, metric]);

function headlineValues(snapshot) {
  return snapshot.servers.flatMap((server) => {
    const row = wholeServer(server.window);
    return [
      [historyKey(server, "rate"), row?.output_tokens_per_second],
      [historyKey(server, "dollar"), row?.output_tokens_per_dollar],
      ...WIDEST_FIRST.map((boundary) => [historyKey(server, boundary), row?.output_tokens_per_joule[boundary]]),
    ];
  });
}

function facts(server) {
  const models = server.tokens.map(({ model }) => model).filter(Boolean);
  const engine = [server.engine, server.engine_version].filter(Boolean).join(" ");
  const role = server.role === "both" ? "prefill and decode" : server.role;
  return [models.join(", ") || "model not named", engine || "engine not known yet", role].join(" · ");
}

function energyNote(perJoule, processed) {
  if (!isNumber(perJoule)) return "";
  if (perJoule === 0) return "power flows, no output tokens";
  const more = isNumber(processed) ? `; with input ${plain(processed)} per J` : "";
  return `${many(perJoule * JOULES_PER_KWH)} tokens/kWh${more}`;
}

function responseText(server, chosen) {
  const row = wholeServer(server.window);
  const boundary = chosenBoundary(server, chosen);
  const parts = [];
  if (isNumber(row?.response_cost_dollars)) parts.push(dollars(row.response_cost_dollars));
  if (isNumber(row?.response_energy_joules[boundary]))
    parts.push(`${joules(row.response_energy_joules[boundary])} (${BOUNDARY_NAMES[boundary]})`);
  return parts.length ? `Per meaningful response: ${parts.join(" and ")}${responseTerms(row.response_terms)}` : "";
}

function responseTerms(terms) {
  if (!isNumber(terms?.output_tokens) || !isNumber(terms.attempts_ratio)) return "";
  const made = `${plain(terms.output_tokens)} tokens × ${plain(terms.attempts_ratio)} attempts`;
  return terms.support_dollars ? ` (${made}, ${dollars(terms.support_dollars)} of support)` : ` (${made})`;
}

function windowText(snapshot, server) {
  if (!server.window) return "No window yet: it starts with the second token reading.";
  const { start_seconds: start, end_seconds: end, covered_seconds: covered } = server.window;
  const ended = duration(snapshot.at_seconds - end);
  return `Window ${duration(end - start)} (set: ${duration(snapshot.window_seconds)}), ended ${ended} ago; tokens measured in ${duration(covered)} of it.`;
}

/** The 90 % interval of a boundary's energy in the window. */
const errorText = (row) => (isNumber(row?.error_ratio) ? `± ${(100 * row.error_ratio).toPrecision(2)} %` : "");

function powerRows(snapshot, server) {
  const rows = measuredBoundaries(server)
    .reverse()
    .map((boundary) => {
      const row = windowAt(server, boundary);
      const covered = row && row.coverage_ratio >= snapshot.min_coverage;
      const energy = energyTotal(server, boundary);
      return {
        key: boundary,
        cells: [
          BOUNDARY_NAMES[boundary],
          { text: watts(row?.power_watts), note: errorText(row) },
          {
            text: coveragePercent(row?.coverage_ratio),
            note: covered ? "" : needs(snapshot),
            className: covered ? "" : "warn",
          },
          { text: joules(energy), note: isNumber(energy) ? wattHours(energy) : "" },
        ],
      };
    });
  return rows.length
    ? rows
    : [{ key: "none", cells: [{ text: "none", note: "no energy of this server is measured" }, DASH, DASH, DASH] }];
}

function phaseRow(server, boundary, phase, share) {
  const energy = energyTotal(server, boundary, phase);
  return {
    key: phase ?? "total",
    className: phase ? `phase ${phase}` : "total",
    cells: [
      { text: phase ?? "total", note: PHASE_NOTES[phase] ?? phaseRatio(server, boundary, phase) },
      { text: joules(energy), note: isNumber(energy) ? wattHours(energy) : "" },
      percent(share),
      dollars(costTotal(server, "capacity", phase)),
      dollars(costTotal(server, "energy", phase)),
    ],
  };
}

// A phase's own tokens per joule in the window, with the half-width of its 90 % interval.
function phaseRatio(server, boundary, phase) {
  const models = server.phase_live?.models ?? [];
  const value = models.length === 1 ? models[0][`${phase}_tokens_per_joule`]?.[boundary] : null;
  if (!isNumber(value)) return "";
  const error = server.phase_live.energy_error_ratio[boundary]?.[phase];
  return `${plain(value)} tokens/J${isNumber(error) ? ` ± ${percent(error)}` : ""}`.replaceAll(" ", "\u00a0");
}

function splitText(server, boundary) {
  if (server.phase_method === "none") return "";
  const method = `Split of prefill and decode: ${METHOD_NOTES[server.phase_method] ?? server.phase_method}`;
  if (!server.phase_live) return `${method}; not split over the whole window.`;
  const error = server.phase_live.error_ratio[boundary];
  return isNumber(error) ? `${method}; prefill's share ± ${percent(error)} of busy energy.` : `${method}.`;
}

const offered = (value) => (isNumber(value) ? "" : "not counted by the engine");

function modelRows(server) {
  const several = server.tokens.length > 1;
  return server.tokens.map((row) => {
    const live = several ? server.window?.models.find(({ model }) => model === row.model) : null;
    const rate = (value) => (isNumber(value) ? `${amount(value, "")}/s` : "");
    const outcomes = Object.entries(row.requests);
    return {
      key: row.model,
      cells: [
        row.model || "not named",
        { text: count(row.output_tokens), note: offered(row.output_tokens) || rate(live?.output_tokens_per_second) },
        { text: count(row.input_tokens), note: offered(row.input_tokens) || rate(live?.input_tokens_per_second) },
        { text: count(row.cached_input_tokens), note: offered(row.cached_input_tokens) },
        {
          text: count(row.requests.success),
          note:
            offered(row.requests.success) ||
            outcomes
              .filter(([outcome, number]) => outcome !== "success" && number > 0)
              .map(([outcome, number]) => `${count(number)} ${outcome}`)
              .join(", "),
        },
      ],
    };
  });
}

// ---- meters and sources

const meterKey = ({ boundary, device }) => JSON.stringify([boundary, device]);

function meterRows(snapshot) {
  const devices = new Map(snapshot.devices.map((device) => [meterKey(device.meter), device]));
  const measured = new Set(snapshot.meters.map(({ meter }) => meterKey(meter)));
  const unmeasured = snapshot.devices.filter(({ meter }) => !measured.has(meterKey(meter)));
  const totals = [
    ...snapshot.meters,
    ...unmeasured.map(({ meter }) => ({ meter, joules: null, unattributed_joules: null })),
  ];
  return totals.map((row) => {
    const device = devices.get(meterKey(row.meter));
    const index = isNumber(device?.index) ? `${BOUNDARY_NAMES[row.meter.boundary]} ${device.index}: ` : "";
    const details = (device?.details ?? []).map(([key, value]) => `${key.replaceAll("_", " ")} ${value}`);
    const rest = ratio(row.unattributed_joules, row.joules);
    return {
      key: meterKey(row.meter),
      cells: [
        {
          text: `${index}${device?.name || row.meter.device}`,
          badge: row.meter.method === "simulated" ? "simulated" : "",
          note: [row.meter.device, ...details, ...whose(snapshot, row.meter)].join(" · "),
        },
        BOUNDARY_NAMES[row.meter.boundary] ?? row.meter.boundary,
        row.meter.source,
        row.meter.fidelity,
        row.meter.method,
        { text: joules(row.joules), note: energyNoteOf(row) },
        { text: joules(row.unattributed_joules), note: unattributedNote(row, rest) },
      ],
    };
  });
}

const whose = (snapshot, { device }) =>
  snapshot.servers.filter(({ gpus }) => gpus.some((gpu) => gpu.device === device)).map(({ name }) => `of ${name}`);

function energyNoteOf(row) {
  if (!isNumber(row.joules)) return "not measured yet";
  const rest = isNumber(row.non_gpu_watts) ? `; ${watts(row.non_gpu_watts)} is not GPU` : "";
  return `${wattHours(row.joules)}${rest}`;
}

function unattributedNote(row, share) {
  if (row.joules !== null && row.unattributed_joules === null) return "not shared out to servers";
  return share ? `${percent(share)}${share > 0.9995 ? ", owned by no server" : ""}` : "";
}

function sourceRows(snapshot) {
  return snapshot.sources.map((row) => ({
    key: `${row.kind} ${row.source}`,
    className: row.up === false ? "down" : "",
    cells: [
      { text: row.source, note: row.target },
      row.kind,
      stateCell(row),
      {
        text: lastSuccess(snapshot, row),
        note: isNumber(row.read_seconds) ? `read in ${decimals(row.read_seconds * 1000, 0)} ms` : "",
      },
      Object.entries(row.errors)
        .map(([reason, number]) => `${count(number)} ${reason}`)
        .join(", ") || "0",
      count(row.resets),
      row.gap_seconds ? duration(row.gap_seconds) : "0 s",
      {
        text: row.missing_series.length ? count(row.missing_series.length) : "none",
        note: row.missing_series.join(", "),
      },
    ],
  }));
}

const STATES = new Map([
  [true, ["up", "good"]],
  [false, ["down", "bad"]],
  [null, ["not tried yet", "wait"]],
]);

function stateCell(row) {
  const [text, className] = STATES.get(row.up);
  const partly = row.up && row.message;
  const note = [row.up === false ? row.reason : "", row.message].filter(Boolean).join(": ");
  return { text: partly ? "partly up" : text, note, className: `state ${partly ? "warn" : className}` };
}

function showState(node, up) {
  const [text, className] = STATES.get(up);
  setText(node, text);
  setClass(node, `state ${className}`);
}

function lastSuccess(snapshot, row) {
  if (!isNumber(row?.last_success_unix_seconds)) return "never";
  return `${duration(snapshot.at_unix_seconds - row.last_success_unix_seconds)} ago`;
}

// ---- the whole page

class Page {
  constructor() {
    this.history = new History();
    this.snapshot = null;
    this.changedMs = performance.now(); // when the picture last moved on
    this.lastAnswerMs = Date.now();
    this.states = new Map();
    this.fleet = new FleetView(byId("fleet"));
    this.servers = new Children(byId("servers"), () => new ServerView(this.roomy));
    this.meters = new Table("Meters", [
      { title: "Device" },
      { title: "Boundary" },
      { title: "Source" },
      { title: "Fidelity" },
      { title: "Method" },
      { title: "Energy so far", numeric: true },
      { title: "Unattributed", numeric: true },
    ]);
    this.sources = new Table("Sources", [
      { title: "Source" },
      { title: "Kind" },
      { title: "State" },
      { title: "Last success" },
      { title: "Errors" },
      { title: "Resets", numeric: true },
      { title: "Gaps", numeric: true },
      { title: "Missing series" },
    ]);
    byId("meters").append(this.meters.node);
    byId("sources").append(this.sources.node);
    byId("boundary").addEventListener("change", () => this.snapshot && this.draw());
  }

  /** Room to show every server's details from the start. */
  get roomy() {
    return this.snapshot.servers.length <= OPEN_UP_TO_SERVERS && !matchMedia("(max-width: 720px)").matches;
  }

  get chosen() {
    return document.querySelector("#boundary input:checked").value;
  }

  show(snapshot) {
    if (snapshot.at_seconds !== this.snapshot?.at_seconds) {
      this.changedMs = performance.now();
      this.history.record(snapshot.at_unix_seconds, headlineValues(snapshot));
    }
    this.snapshot = snapshot;
    this.draw();
    this.announce(snapshot);
    const lateMs = performance.now() - this.changedMs;
    if (lateMs > Math.max(3000, 3000 * this.snapshot.tick_seconds)) {
      this.stale(
        `The exporter answers, but its numbers have not moved for ${duration(lateMs / 1000)}: it reads no source any more`,
      );
    } else {
      this.fresh();
    }
  }

  draw() {
    const { snapshot, chosen, history } = this;
    const real = snapshot.servers.some((server) => !server.simulated);
    setHidden(byId("simulated"), !snapshot.simulated);
    setText(byId("simulated"), `SIMULATED: no ${real ? "power or cost" : "number"} on this page was measured`);
    setOptional(
      byId("reload"),
      snapshot.config_reload_successful
        ? ""
        : `The last reload of the configuration failed; the one of ${dateTime(snapshot.config_reload_unix_seconds)} is in force. The exporter’s log says what is wrong with the new one.`,
    );
    this.drawDown(snapshot);
    this.fleet.update(snapshot, chosen);
    this.servers.update(snapshot.servers, ({ name }) => name, { snapshot, chosen, history });
    this.meters.update(meterRows(snapshot));
    this.sources.update(sourceRows(snapshot));
    for (const [id, rows, table] of [
      ["no-servers", snapshot.servers],
      ["no-meters", snapshot.meters, this.meters],
      ["no-sources", snapshot.sources, this.sources],
    ]) {
      setHidden(byId(id), rows.length > 0);
      if (table) setHidden(table.node, rows.length === 0);
    }
    setText(byId("terms"), terms(snapshot));
  }

  drawDown(snapshot) {
    const down = snapshot.sources.filter(({ up }) => up === false);
    const lines = down.map(
      ({ source, reason, message }) => `${source} is down (${reason || "error"}): ${message || "no message"}`,
    );
    this.downLines ??= new Children(byId("down"), () => {
      const node = element("p", "raw");
      return { node, update: (line) => setText(node, line) };
    });
    this.downLines.update(lines, (line) => line);
    setHidden(byId("down"), !down.length);
  }

  /** Say changes of state aloud; numbers are never announced. */
  announce({ sources }) {
    const said = [];
    for (const { source, kind, up, reason } of sources) {
      const key = `${kind} ${source}`;
      const before = this.states.get(key);
      if (up === false && before !== false) said.push(`${source} is down: ${reason}`);
      if (up === true && before === false) said.push(`${source} answers again`);
      this.states.set(key, up);
    }
    if (said.length) setText(byId("announcer"), said.join(". "));
  }

  fresh() {
    if (!byId("offline").hidden) setText(byId("announcer"), "The exporter answers again");
    setOptional(byId("offline"), "");
    document.body.classList.remove("stale");
    this.status("live", "good", `updated ${clockTime(this.snapshot.at_unix_seconds)}`);
    const broken = this.snapshot.sources.some(({ up }) => up === false);
    document.title = `${broken ? "▲ " : ""}tokwatt${this.snapshot.simulated ? " (simulated)" : ""}`;
  }

  stale(message) {
    if (byId("offline").hidden) setText(byId("announcer"), message);
    setOptional(byId("offline"), message);
    document.body.classList.add("stale");
    this.status("not live", "bad", this.snapshot ? `numbers of ${clockTime(this.snapshot.at_unix_seconds)}` : "");
    document.title = "▲ tokwatt";
  }

  status(state, className, note) {
    const [mark, text] = [
      byId("status").firstElementChild,
      byId("status").children[1] ?? byId("status").appendChild(element("span", "note")),
    ];
    setText(mark, state);
    setClass(mark, `state ${className}`);
    setText(text, note);
  }

  async poll() {
    try {
      const snapshot = await fetchSnapshot();
      this.lastAnswerMs = Date.now();
      this.show(snapshot);
    } catch (problem) {
      const since = clockTime(this.lastAnswerMs / 1000);
      if (!(problem instanceof NoAnswer)) {
        console.error(problem);
        this.stale(
          `This page cannot show the exporter’s answer since ${since} (${problem}). The numbers are at metrics and snapshot above.`,
        );
      } else {
        this.stale(
          `${problem.starting ? "The exporter is starting" : `The exporter does not answer since ${since}`}: ${problem.message}`,
        );
      }
    }
  }
}

class NoAnswer extends Error {
  constructor(message, starting = false) {
    super(message);
    this.starting = starting;
  }
}

async function fetchSnapshot() {
  let response;
  try {
    response = await fetch("api/v1/snapshot", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (response.ok) return await response.json();
  } catch (problem) {
    if (problem.name === "TimeoutError") throw new NoAnswer(`nothing within ${duration(TIMEOUT_MS / 1000)}`);
    throw new NoAnswer(problem.name === "SyntaxError" ? "what came is not a snapshot" : "the connection failed");
  }
  if (response.status === 503) throw new NoAnswer("its first reading is not done", true);
  if (response.status === 401) throw new NoAnswer("it asks for a password; load this page again");
  throw new NoAnswer(`HTTP status ${response.status}`);
}

function terms({ prices, window_seconds: window, min_coverage: coverage }) {
  const price = prices.electricity_dollars_per_joule;
  const none = prices.electricity_configured ? "price not known now" : "no price configured";
  const electricity = isNumber(price) ? `${dollars(price * JOULES_PER_KWH)} per kWh` : none;
  return `Live numbers are means over ${duration(window)} and absent below ${coveragePercent(coverage)} coverage. Electricity: ${electricity}; PUE ${plain(prices.pue_ratio)}.`;
}

const page = new Page();
let timer = null;

async function run() {
  const started = performance.now();
  timer = -1; // a poll is under way
  await page.poll();
  timer = document.hidden ? null : setTimeout(run, Math.max(0, POLL_MS - (performance.now() - started)));
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    document.body.classList.add("stale"); // what is shown first on return is old until a poll answers
    if (timer !== null && timer !== -1) {
      clearTimeout(timer);
      timer = null;
    }
  } else if (timer === null) {
    page.changedMs = performance.now();
    run();
  }
});

run();
