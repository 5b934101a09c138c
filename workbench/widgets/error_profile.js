// The error of every layer in topological order, on a logarithmic scale. One selection: click, or the arrow keys; N and P
// go to the next and to the previous layer that fails.

const HEIGHT = 240;
const MARGIN = { left: 58, right: 14, top: 14, bottom: 26 };
const SERIES = ["accumulated", "isolated"];

const spoken = value => (value === null || value === undefined ? "none" : typeof value === "number" ? value.toExponential(2) : value);

/** Values that have no place on a logarithmic scale: exact ones lie on its floor, NaN and infinite ones on its top. */
function scaleOf(data) {
  const usual = [];
  for (const name of SERIES) {
    for (const value of data[name]) if (typeof value === "number" && value > 0) usual.push(value);
    for (const value of [...data.limits[name], ...data.expected[name]]) if (value > 0) usual.push(value);
  }
  let low = Infinity;
  let high = -Infinity;
  for (const value of usual) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (!usual.length) [low, high] = [1e-9, 1];
  const bottom = Math.floor(Math.log10(low)) - 1;
  const top = Math.max(bottom + 3, Math.ceil(Math.log10(high) + 0.3));
  const inner = HEIGHT - MARGIN.top - MARGIN.bottom;
  const at = exponent => MARGIN.top + (inner * (top - exponent)) / (top - bottom);
  const y = value => {
    if (value === null || value === undefined) return null;
    if (typeof value !== "number") return at(top);
    return value <= 0 ? at(bottom) : at(Math.min(top, Math.max(bottom, Math.log10(value))));
  };
  return { bottom, top, at, y };
}

class Profile {
  constructor(model, el) {
    this.model = model;
    this.hovered = -1;
    el.classList.add("wb-view", "wb-profile");
    this.legend = document.createElement("div");
    this.legend.className = "wb-legend";
    this.plot = document.createElement("div");
    this.plot.className = "wb-plot";
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "slider");
    this.plot.setAttribute("aria-label", "Error profile: arrow keys choose a layer, N and P one that fails");
    this.svg = svg("svg", { "aria-hidden": "true" });
    this.chart = svg("g", {});
    this.marks = svg("g", {});
    this.svg.append(this.chart, this.marks);
    this.plot.append(this.svg);
    this.tip = document.createElement("div");
    this.tip.className = "wb-tip";
    this.tip.hidden = true;
    this.failing = document.createElement("div");
    this.failing.className = "wb-failing-steps";
    for (const [text, step] of [["Previous failing", -1], ["Next failing", 1]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.addEventListener("click", () => this.toFailing(step));
      this.failing.append(button);
    }
    const bar = document.createElement("div");
    bar.className = "wb-profile-bar";
    bar.append(this.legend, this.failing);
    el.append(bar, this.plot, this.tip);
    this.plot.addEventListener("click", event => this.select(this.nearest(event)));
    this.plot.addEventListener("mousemove", event => this.hover(event));
    this.plot.addEventListener("mouseleave", () => this.leave());
    this.plot.addEventListener("keydown", event => this.onKey(event));
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.plot);
  }

  get data() {
    return this.model.get("data");
  }

  get count() {
    return this.data.names.length;
  }

  x(index) {
    const inner = this.width - MARGIN.left - MARGIN.right;
    return MARGIN.left + (this.count > 1 ? (inner * index) / (this.count - 1) : inner / 2);
  }

  nearest(event) {
    const box = this.svg.getBoundingClientRect();
    const inner = this.width - MARGIN.left - MARGIN.right;
    const index = Math.round(((event.clientX - box.left - MARGIN.left) / inner) * (this.count - 1));
    return Math.min(this.count - 1, Math.max(0, index));
  }

  draw() {
    this.width = Math.max(200, this.svg.clientWidth || 600);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    this.scale = scaleOf(this.data);
    this.chart.replaceChildren(...this.axes(), ...this.lines());
    this.plot.setAttribute("aria-valuemin", 1);
    this.plot.setAttribute("aria-valuemax", Math.max(1, this.count));
    this.drawLegend();
    this.mark();
  }

  axes() {
    const { bottom, top, at } = this.scale;
    const every = Math.ceil((top - bottom) / 7);
    const nodes = [];
    for (let exponent = bottom; exponent <= top; exponent += every) {
      const y = at(exponent);
      const label = exponent === bottom ? "≤ 1e" + exponent : "1e" + exponent;
      nodes.push(svg("line", { x1: MARGIN.left, x2: this.width - MARGIN.right, y1: y, y2: y, class: "wb-gridline" }));
      nodes.push(svg("text", { x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, label));
    }
    const y = HEIGHT - 8;
    nodes.push(svg("text", { x: MARGIN.left, y }, "first layer"));
    nodes.push(svg("text", { x: this.width - MARGIN.right, y, "text-anchor": "end" }, "last layer"));
    for (const name of SERIES) {
      nodes.push(svg("path", { d: this.limit(name), class: `wb-limit wb-${name}` }));
      nodes.push(svg("path", { d: this.floor(name), class: `wb-floor wb-${name}` }));
    }
    return nodes;
  }

  /** What the target's precision alone explains: a dotted line. */
  floor(name) {
    let path = "";
    this.data.expected[name].forEach((value, index) => {
      const y = this.scale.y(value);
      if (y !== null) path += `${path ? "L" : "M"}${this.x(index).toFixed(1)} ${y.toFixed(1)}`;
    });
    return path;
  }

  /** The tolerance of each layer, as a staircase; where it is the same for all, a line. */
  limit(name) {
    let path = "";
    let before = null;
    this.data.limits[name].forEach((value, index) => {
      if (value === null) return;
      const y = this.scale.y(value).toFixed(1);
      if (before === null) path += `M${this.x(index).toFixed(1)} ${y}`;
      else if (y !== before) path += `H${this.x(index - 0.5).toFixed(1)}V${y}`;
      before = y;
    });
    return before === null ? "" : `${path}H${this.x(this.count - 1).toFixed(1)}`;
  }

  /** Whether it is this error that fails: a layer may inherit one and make none. */
  isBeyond(name, index) {
    const limit = this.data.limits[name][index] ?? null;
    const value = this.data[name][index];
    return this.data.failing[index] && (limit === null || typeof value !== "number" || value > limit);
  }

  lines() {
    const nodes = [];
    const thick = this.count > 400 ? 3 : 5;
    for (const name of SERIES) {
      let line = "";
      let dots = "";
      let failing = "";
      let drawing = false;
      this.data[name].forEach((value, index) => {
        const y = this.scale.y(value);
        if (y === null) return;
        const point = `${this.x(index).toFixed(1)} ${y.toFixed(1)}`;
        line += `${drawing ? "L" : "M"}${point}`;
        drawing = true;
        if (this.isBeyond(name, index)) failing += `M${point}h0`;
        else dots += `M${point}h0`;
      });
      nodes.push(svg("path", { d: line, class: `wb-${name}`, "stroke-width": 1, opacity: 0.6 }));
      nodes.push(svg("path", { d: dots, class: `wb-${name}`, "stroke-width": thick }));
      nodes.push(svg("path", { d: failing, class: "wb-failing", "stroke-width": thick + 2 }));
    }
    return nodes;
  }

  drawLegend() {
    const entries = [["accumulated", "--wb-second"], ["isolated", "--wb-brand"]];
    this.failing.hidden = !this.data.failing.some(Boolean);
    if (!this.failing.hidden) entries.push(["beyond tolerance", "--wb-bad"]);
    const used = entries.filter(([name]) => !SERIES.includes(name) || this.data[name].some(value => value !== null));
    const heading = document.createElement("strong");
    heading.textContent = this.data.metric;
    const note = document.createElement("em");
    const floors = SERIES.some(name => this.data.expected[name].some(value => value !== null));
    note.textContent = floors ? "dashed: tolerance; dotted: what float16 alone explains" : "dashed: tolerance";
    this.legend.replaceChildren(
      heading,
      ...used.map(([name, colour]) => {
        const node = document.createElement("span");
        node.textContent = name;
        node.style.setProperty("--wb-key", `var(${colour})`);
        return node;
      }),
      note
    );
  }

  mark() {
    const chosen = this.model.get("selected");
    const nodes = [];
    if (this.hovered >= 0 && this.hovered !== chosen) {
      const x = this.x(this.hovered);
      nodes.push(svg("line", { x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, class: "wb-hover" }));
    }
    if (chosen >= 0 && chosen < this.count) {
      const x = this.x(chosen);
      nodes.push(svg("line", { x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, class: "wb-cursor" }));
      for (const name of SERIES) {
        const y = this.scale.y(this.data[name][chosen]);
        if (y !== null) nodes.push(svg("circle", { cx: x, cy: y, r: 4, class: "wb-chosen" }));
      }
    }
    this.marks.replaceChildren(...nodes);
    this.plot.setAttribute("aria-valuenow", Math.max(1, chosen + 1));
    this.plot.setAttribute("aria-valuetext", chosen >= 0 ? this.sentence(chosen).replaceAll("\n", ", ") : "no layer chosen");
  }

  sentence(index) {
    const lines = [`${index + 1} of ${this.count}: ${this.data.names[index]}`];
    for (const name of SERIES) {
      if (this.data[name][index] === null) continue;
      const floor = this.data.expected[name][index] ?? null;
      lines.push(`${name} ${spoken(this.data[name][index])}${floor === null ? "" : `, float16 explains ${spoken(floor)}`}`);
    }
    if (this.data.failing[index]) lines.push("beyond tolerance");
    return lines.join("\n");
  }

  hover(event) {
    if (!this.count) return;
    this.hovered = this.nearest(event);
    this.tip.textContent = this.sentence(this.hovered);
    this.tip.hidden = false;
    const box = this.plot.parentElement.getBoundingClientRect();
    const x = event.clientX - box.left;
    this.tip.style.left = x > box.width / 2 ? "auto" : `${x + 14}px`;
    this.tip.style.right = x > box.width / 2 ? `${box.width - x + 14}px` : "auto";
    this.tip.style.top = `${event.clientY - box.top + 14}px`;
    this.mark();
  }

  leave() {
    this.hovered = -1;
    this.tip.hidden = true;
    this.mark();
  }

  select(index) {
    this.model.set("selected", index);
    this.model.save_changes();
  }

  /** The next layer that fails, or the one before; after the last one comes the first. */
  toFailing(step) {
    const places = this.data.failing.flatMap((fails, index) => (fails ? [index] : []));
    const found = nextOf(places, this.model.get("selected"), step);
    if (found !== undefined) this.select(found);
  }

  onKey(event) {
    const at = this.model.get("selected");
    const step = failingStep(event);
    if (step) {
      event.preventDefault();
      event.stopPropagation();
      this.toFailing(step);
      return;
    }
    // As in the table below, down is onward.
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
    if (event.key === "Escape" && at >= 0) {
      event.preventDefault();
      event.stopPropagation();
      this.select(-1);
      return;
    }
    const to = { Home: 0, End: this.count - 1 }[event.key] ?? (event.key in steps ? at + steps[event.key] : undefined);
    if (to === undefined || !this.count) return;
    event.preventDefault();
    event.stopPropagation();
    this.select(Math.min(this.count - 1, Math.max(0, to)));
  }
}

function render({ model, el }) {
  const profile = new Profile(model, el);
  const draw = () => profile.draw();
  const mark = () => profile.mark();
  model.on("change:data", draw);
  model.on("change:selected", mark);
  draw();
  return () => {
    profile.resized.disconnect();
    model.off("change:data", draw);
    model.off("change:selected", mark);
  };
}

export default { render };
