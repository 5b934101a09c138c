// The linked views of a report's page: one row is selected, and profile, table, details and address follow it.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const rows = [...document.querySelectorAll("#rows tbody tr")];
const marks = new Map([...document.querySelectorAll("#profile g[data-row]")].map((mark) => [mark.dataset.row, mark]));
const detail = document.getElementById("detail");
const filter = document.getElementById("filter");
const SVG = "http://www.w3.org/2000/svg";
let selected = null;

const number = (row) => row.id.slice("row-".length);
const visible = () => [...document.querySelectorAll("#rows tbody tr:not([hidden])")];

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function drawn(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// -- selection

function select(row, { focus = false, remember = true } = {}) {
  if (!row) return;
  if (selected) {
    selected.setAttribute("aria-selected", "false");
    selected.tabIndex = -1;
    marks.get(number(selected))?.classList.remove("chosen");
  }
  selected = row;
  row.setAttribute("aria-selected", "true");
  row.tabIndex = 0;
  marks.get(number(row))?.classList.add("chosen");
  bring(row);
  if (focus) row.focus({ preventScroll: true });
  if (remember) history.replaceState(null, "", `#${row.id}`);
  show(Number(number(row)));
}

// Scrolls the table, never the page: what was clicked stays where it is.
function bring(row) {
  const box = row.closest(".scroll"), head = box.querySelector("thead").offsetHeight;
  const [top, bottom] = [row.offsetTop - head, row.offsetTop + row.offsetHeight];
  if (top < box.scrollTop) box.scrollTop = top;
  else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
}

function step(by, wanted = () => true) {
  const shown = visible();
  const begin = selected ? shown.indexOf(selected) : by > 0 ? -1 : shown.length;
  for (let at = begin + by; at >= 0 && at < shown.length; at += by) {
    if (wanted(shown[at])) return select(shown[at], { focus: true });
  }
}

const isFailing = (row) => row.classList.contains("failing") || row.classList.contains("inherited");

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === filter) {
    if (event.key === "Escape") { filter.value = ""; narrow(); }
    if (event.key === "Escape" || event.key === "Enter" || event.key === "ArrowDown") step(1);
    return;
  }
  const inProfile = event.target.closest?.("#profile");
  const moves = {
    ArrowDown: () => step(1),
    ArrowUp: () => step(-1),
    ArrowRight: inProfile && (() => along(1)),
    ArrowLeft: inProfile && (() => along(-1)),
    Home: () => select(visible()[0], { focus: true }),
    End: () => select(visible().at(-1), { focus: true }),
    n: () => step(1, isFailing),
    p: () => step(-1, isFailing),
    "/": () => filter.focus(),
  };
  const move = moves[event.key];
  if (!move || event.target.closest?.("a, button")) return;
  event.preventDefault();
  move();
});

// Along the profile: in the model's order, whatever the table is sorted by.
function along(by) {
  const order = [...marks.keys()];
  const at = selected ? order.indexOf(number(selected)) : -1;
  const next = order[Math.min(Math.max(at + by, 0), order.length - 1)];
  select(document.getElementById(`row-${next}`));
}

document.querySelector("#rows tbody").addEventListener("click", (event) => select(event.target.closest("tr"), { focus: true }));
document.getElementById("profile").addEventListener("click", (event) => {
  const mark = event.target.closest("g[data-row]");
  if (mark) reveal(document.getElementById(`row-${mark.dataset.row}`));
});
for (const link of document.querySelectorAll("a.pick")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    reveal(document.querySelector(link.getAttribute("href")), { focus: true });
  });
}

function reveal(row, options) {
  if (row.hidden) { filter.value = ""; narrow(); }
  select(row, options);
}

// -- filter and order

function narrow() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    count += row.hidden ? 0 : 1;
    marks.get(number(row))?.setAttribute("opacity", row.hidden ? 0.15 : 1);
  }
  document.getElementById("shown").textContent = count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`;
}
filter.addEventListener("input", narrow);

document.querySelectorAll("#rows th").forEach((head, column, heads) => {
  head.querySelector("button").addEventListener("click", () => {
    const numeric = head.dataset.kind === "number";
    const first = numeric && column > 0 ? "descending" : "ascending";
    const now = head.getAttribute("aria-sort");
    const next = now === "none" ? first : now === "ascending" ? "descending" : "ascending";
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", next);
    const key = (row) => {
      const cell = row.cells[column];
      return numeric ? (cell.dataset.v === undefined ? null : Number(cell.dataset.v)) : cell.textContent;
    };
    const sign = next === "ascending" ? 1 : -1;
    const order = (a, b) => (numeric ? a - b : a.localeCompare(b));
    const sorted = [...rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * order(x, y) || rows.indexOf(a) - rows.indexOf(b);
    });
    document.querySelector("#rows tbody").append(...sorted);
    if (selected) bring(selected);
  });
});

// -- details

function show(index) {
  const facts = data.rows[index];
  const split = facts.findIndex((fact) => fact.length === 3);
  const words = split < 0 ? facts : facts.slice(0, split);
  const parts = [element("h2", words[0][1]), table(words.slice(1))];
  if (split >= 0) {
    const figures = table(facts.slice(split));
    figures.className = "figures";
    parts.push(figures);
  }
  const summary = data.details[index];
  if (summary) parts.push(...distributions(summary));
  else if (split >= 0) parts.push(element("p", "The tensors of this row are not in this page."));
  detail.replaceChildren(...parts);
}

function table(lines) {
  const made = element("table");
  for (const line of lines) {
    const row = element("tr");
    row.append(...line.map((cell) => element("td", cell)));
    made.append(row);
  }
  return made;
}

function distributions(summary) {
  const plots = element("div", undefined, { class: "plots" });
  plots.append(
    figure("values: reference (filled), target (line)", histogram(summary.edges, summary.reference, summary.target)),
    figure("target over reference", scatter(summary)),
    figure("target − reference", histogram(summary.differenceEdges, summary.difference)),
  );
  const names = ["minimum", "maximum", "mean", "deviation", "NaN", "infinities"];
  const statistics = table([
    ["", "reference", "target", "difference"],
    ...names.map((name, at) => [name, ...summary.statistics.map((column) => column[at])]),
  ]);
  statistics.className = "figures";
  const found = [element("h3", `Tensors of the first sample, ${summary.mode}`), plots, statistics];
  if (summary.worst.length) {
    const worst = table([["at", "reference", "target"], ...summary.worst]);
    worst.className = "figures";
    found.push(element("h3", "Elements that differ most"), worst);
  }
  return found;
}

function figure(caption, content) {
  const made = element("figure");
  made.append(content, element("figcaption", caption));
  return made;
}

const short = (value) => (value === 0 ? "0" : Number(value).toPrecision(3).replace(/\.?0+(e|$)/, "$1"));
const W = 220, H = 130, FOOT = 14;

function histogram(edges, one, two) {
  const svg = drawn("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "histogram" });
  const high = Math.log1p(Math.max(...one, ...(two ?? []), 1));
  const y = (count) => (H - FOOT) * (1 - Math.log1p(count) / high);
  const width = W / one.length;
  one.forEach((count, at) => {
    if (count) svg.append(drawn("rect", { class: "one", x: at * width, y: y(count), width, height: H - FOOT - y(count) }));
  });
  if (two) {
    const points = two.flatMap((count, at) => [`${at * width},${y(count)}`, `${(at + 1) * width},${y(count)}`]);
    svg.append(drawn("polyline", { class: "two", points: points.join(" ") }));
  }
  svg.append(drawn("line", { class: "axis", x1: 0, x2: W, y1: H - FOOT, y2: H - FOOT }));
  svg.append(drawn("text", { x: 0, y: H - 2 }, short(edges[0])));
  svg.append(drawn("text", { x: W, y: H - 2, "text-anchor": "end" }, short(edges[1])));
  return svg;
}

function scatter(summary) {
  const size = H - FOOT, left = (W - size) / 2, cells = summary.density.length, cell = size / cells;
  const svg = drawn("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "target over reference" });
  svg.append(drawn("line", { class: "equal", x1: left, y1: size, x2: left + size, y2: 0 }));
  const high = Math.log1p(Math.max(...summary.density.map((row) => Math.max(...row)), 1));
  summary.density.forEach((row, at) => row.forEach((count, place) => {
    if (!count) return;
    const opacity = (0.25 + 0.75 * (Math.log1p(count) / high)).toFixed(2);
    const y = size - (at + 1) * cell;
    svg.append(drawn("rect", { class: "cell", x: left + place * cell, y, width: cell + 0.2, height: cell + 0.2, opacity }));
  }));
  svg.append(drawn("rect", { x: left, y: 0, width: size, height: size, fill: "none", class: "axis" }));
  svg.append(drawn("text", { x: left, y: H - 2 }, short(summary.densityEdges[0])));
  svg.append(drawn("text", { x: left + size, y: H - 2, "text-anchor": "end" }, short(summary.densityEdges[1])));
  return svg;
}

narrow();
const wanted = /^#row-\d+$/.test(location.hash) ? document.querySelector(location.hash) : null;
select(wanted ?? rows.find((row) => row.classList.contains("failing")) ?? rows.at(-1), { remember: false });
