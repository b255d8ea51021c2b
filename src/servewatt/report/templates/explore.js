// Limits of the reader's own, two configurations side by side, and a filter: all from the page's own data.
const data = JSON.parse(document.getElementById("data").textContent);
const state = { latency: null, energy: null, filter: "", a: "", b: "" };
const shown = (id) => document.getElementById(id);
const made = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const digits = (value) => Number(value.toPrecision(3)).toString();
const inUnit = (value, name) => `${digits(value / data.units[name].divisor)} ${data.units[name].name}`;
// Rounded up: a promise must not say less than it can.
const percent = (share) => {
  const many = share < 0.1 ? 10 : 1;
  return `${(Math.ceil(100 * many * Math.max(share, 0.001) - 1e-9) / many).toFixed(many === 10 ? 1 : 0)} %`;
};

const pairs = new Map();
for (const [first, second, difference, half, upper] of data.pairs) {
  pairs.set(`${first} ${second}`, { difference, half, upper });
  pairs.set(`${second} ${first}`, { difference: -difference, half, upper });
}
const pair = (a, b) => pairs.get(`${a.key} ${b.key}`);

// "met", "not met", or "open" where its interval holds the limit or there is none: as `servewatt recommend` judges.
const judged = (bounds, limit) => {
  if (limit === null) return "met";
  if (!bounds) return "not met";
  const [, low, high] = bounds;
  if (low === null || high === null) return "open";
  return high <= limit ? "met" : low > limit ? "not met" : "open";
};
const standing = (one) => {
  const all = ["latency", "energy"].map((name) => judged(one[name], state[name]));
  return all.includes("not met") ? "not met" : all.includes("open") ? "open" : "met";
};

// The configuration of which most can be promised, among those not shown to need more than another of them.
const choose = (able) => {
  const left = able.filter((one) => !able.some((other) => {
    const known = other !== one && pair(one, other);
    return known && known.difference - known.half > data.floor;
  }));
  let best = null;
  for (const one of left) {
    const others = left.filter((other) => other !== one);
    const worst = Math.max(0, ...others.map((other) => {
      const known = pair(one, other);
      return known ? known.difference + known.upper : Infinity;
    }));
    if (!best || worst < best.worst || (worst === best.worst && one.energy[0] < best.one.energy[0])) best = { one, worst };
  }
  const worst = best && (left.length > 1 ? Math.max(best.worst, data.floor) : best.worst);
  return best && { one: best.one, promise: 1 - Math.exp(-worst), alone: able.length === 1 };
};

const showChoice = () => {
  const known = data.configurations.filter((one) => one.able);
  const able = known.filter((one) => standing(one) === "met");
  const open = known.filter((one) => standing(one) === "open");
  const everything = able.length === known.length;
  let found = choose(able);
  const published = known.find((one) => one.key === data.choice);
  if (everything && published) found = { one: published, promise: data.promise ?? 0, alone: known.length === 1 };
  const lines = [];
  if (!found) lines.push(["answer", open.length ? "None is shown to meet these limits." : "None meets these limits."]);
  else {
    const told = found.alone ? "it is the only one shown to meet these limits"
      : found.promise < 0.8 ? `nothing else within these limits saves more than ${percent(found.promise)}`
        : "too little was measured to say what the others within these limits could save";
    lines.push(["answer", `Serve with ${found.one.key}: ${told}.`]);
    const timed = able.filter((one) => one.latency);
    const fastest = timed.reduce((a, b) => (b.latency[0] < a.latency[0] ? b : a), timed[0]);
    if (fastest) lines.push(["quiet", `Fastest within them: ${fastest.key}, request p95 ${inUnit(fastest.latency[0], "latency")}.`]);
  }
  if (open.length) lines.push(["quiet", `Not shown to meet them yet: ${open.map((one) => one.key).join(", ")}.`]);
  shown("within").replaceChildren(...lines.map(([kind, text]) => made("p", { className: kind === "quiet" ? "quiet small" : "within", textContent: text })));
  data.configurations.forEach((one, index) => rows[index]?.classList.toggle("beyond", one.able && standing(one) === "not met"));
};

const showPair = () => {
  const [a, b] = ["a", "b"].map((name) => data.configurations.find((one) => one.key === state[name]));
  const table = shown("beside");
  table.hidden = !a || !b;
  if (!a || !b) return;
  const known = pair(a, b);
  const ratio = known && [known.difference, known.difference - known.half, known.difference + known.half].map(Math.exp);
  const saved = (value) => digits(100 * (1 - value));
  const verdict = a === b ? "the same configuration"
    : !ratio ? "not known: no block has both, or one is left out"
      : ratio[2] < 1 ? `${a.label} needs ${saved(ratio[0])} % less [${saved(ratio[2])}, ${saved(ratio[1])}]`
        : `${a.label} needs ${digits(ratio[0])} times [${digits(ratio[1])}, ${digits(ratio[2])}] the energy of ${b.label}`
          + (ratio[1] > 1 ? "" : ": not told apart yet");
  const head = made("tr", {}, made("td"), made("th", { scope: "col", textContent: a.label }), made("th", { scope: "col", textContent: b.label }));
  const paired = made("tr", {}, made("th", { scope: "row", textContent: "energy, paired by block" }), made("td", { colSpan: 2, textContent: verdict }));
  const lines = data.columns.map((title, index) => made("tr", {}, made("th", { scope: "row", textContent: title }),
    made("td", { textContent: a.cells[index] }), made("td", { textContent: b.cells[index] })));
  table.querySelector("thead").replaceChildren(head);
  table.querySelector("tbody").replaceChildren(paired, ...lines);
};

// Rows as they stood when the page was opened: the order of the data.
const rankedTable = document.querySelector('table[data-name="ranking"]');
const rows = [...(rankedTable?.tBodies[0].rows ?? [])];
const showFilter = () => {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (row, index) => `${data.configurations[index].key} ${row.textContent}`.toLowerCase();
  rows.forEach((row, index) => { row.hidden = !words.every((word) => text(row, index).includes(word)); });
};

// A slider's 1000 steps go from the least to the largest value by equal ratios; the last one is no limit.
const slider = (name) => {
  const values = data.configurations.filter((one) => one.able && one[name]).flatMap((one) => one[name]).filter((v) => v > 0);
  const low = Math.min(...values) * 0.98, high = Math.max(...values) * 1.02;
  const input = shown(`limit-${name}`);
  const value = () => (input.value === input.max ? null : low * (high / low) ** (input.value / input.max));
  const place = () => { input.value = state[name] === null ? input.max : Math.min(999, Math.max(0, Math.round(1000 * Math.log(state[name] / low) / Math.log(high / low)))); };
  const tell = () => { shown(`${name}-told`).textContent = state[name] === null ? "no limit" : `at most ${inUnit(state[name], name)}`; };
  input.disabled = values.length === 0;
  input.addEventListener("input", () => { state[name] = value() === null ? null : Number(value().toPrecision(3)); changed(); });
  return () => { place(); tell(); };
};

const fields = { filter: shown("filter"), a: shown("side-a"), b: shown("side-b") };
for (const name of ["a", "b"]) {
  fields[name].append(made("option", { value: "", textContent: "choose…" }), ...data.configurations.map((one) => made("option", { value: one.key, textContent: one.key })));
}
for (const [name, field] of Object.entries(fields)) field.addEventListener("input", () => { state[name] = field.value; changed(); });
const sliders = [slider("latency"), slider("energy")];

const show = () => {
  for (const tell of sliders) tell();
  for (const [name, field] of Object.entries(fields)) field.value = state[name];
  showChoice();
  showPair();
  showFilter();
};
const changed = () => {
  show();
  const kept = Object.entries(state).filter(([, value]) => value !== null && value !== "");
  history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
};
// The state is in the address, so that it can be linked to; a hash without "=" is a heading's.
const restore = () => {
  const given = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  for (const name of ["latency", "energy"]) state[name] = Number(given.get(name)) > 0 ? Number(given.get(name)) : null;
  for (const name of ["filter", "a", "b"]) state[name] = given.get(name) ?? "";
  show();
};
addEventListener("hashchange", restore);
for (const part of document.querySelectorAll(".scripted")) part.hidden = false;
if (data.configurations.length) restore();
