// The graph of a model on a canvas: drag to pan, wheel to zoom, click or arrow keys to choose, groups to collapse.
// Only what is in sight is drawn. `layout` is in graph_layout.js.

const NODE = { width: 150, height: 38, gapX: 18, gapY: 34 };
const STEP = { x: NODE.width + NODE.gapX, y: NODE.height + NODE.gapY };
const LONG = 12; // layers; an edge that spans more is looked at in every frame
const TONES = [null, "--wb-good", "--wb-bad", "--wb-faint"];
const SPOKEN = ["", "within tolerance", "beyond tolerance", "no counterpart"];

function button(text, label, act) {
  const node = document.createElement("button");
  node.type = "button";
  node.textContent = text;
  node.title = label;
  node.setAttribute("aria-label", label);
  node.addEventListener("click", act);
  return node;
}

/** `/encoder/layer.0/MatMul` → `["/encoder", "/encoder/layer.0"]`: the groups that it is in, the outermost first. */
function pathsOf(name) {
  const paths = [];
  for (let at = name.indexOf("/", 1); at > 0; at = name.indexOf("/", at + 1)) paths.push(name.slice(0, at));
  return paths;
}

/** Which nodes are in which group; a group of one, or of the same nodes as the one around it, is none. */
function groupsOf(names, count) {
  const members = new Map();
  for (let node = 0; node < count; node += 1) {
    for (const path of pathsOf(names[node])) {
      if (!members.has(path)) members.set(path, []);
      members.get(path).push(node);
    }
  }
  const inside = Array.from({ length: names.length }, () => []);
  for (const [path, nodes] of members) {
    const around = members.get(path.slice(0, path.lastIndexOf("/")));
    if (nodes.length < 2 || nodes.length === count || around?.length === nodes.length) members.delete(path);
    else for (const node of nodes) inside[node].push(path);
  }
  for (const paths of inside) paths.sort((a, b) => a.length - b.length);
  return { members, inside };
}

class Graph {
  constructor(model, el) {
    this.model = model;
    this.view = { scale: 1, x: 0, y: 0 };
    this.collapsed = new Set();
    this.hovered = -1;
    this.build(el);
    this.renew();
  }

  build(el) {
    el.classList.add("wb-view", "wb-graph");
    this.root = el;
    this.title = document.createElement("strong");
    this.count = document.createElement("span");
    this.count.className = "wb-count";
    this.groupsButton = button("Collapse groups", "Collapse or expand all groups", () => this.toggleAll());
    const bar = document.createElement("div");
    bar.className = "wb-bar";
    bar.append(
      this.title,
      this.count,
      this.groupsButton,
      button("−", "Zoom out", () => this.zoom(1 / 1.4)),
      button("+", "Zoom in", () => this.zoom(1.4)),
      button("Fit", "Show the whole graph", () => this.fit())
    );
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-roledescription", "graph");
    this.canvas.style.height = `${this.model.get("height")}px`;
    this.said = document.createElement("div");
    this.said.className = "wb-hidden";
    this.said.setAttribute("aria-live", "polite");
    this.tip = document.createElement("div");
    this.tip.className = "wb-tip";
    this.tip.hidden = true;
    el.append(bar, this.canvas, this.tip, this.said);
    this.listen();
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", event => this.press(event));
    canvas.addEventListener("pointermove", event => this.move(event));
    canvas.addEventListener("pointerup", event => this.release(event));
    canvas.addEventListener("pointercancel", () => (this.pressed = null));
    canvas.addEventListener("pointerleave", () => this.hover(-1));
    canvas.addEventListener("dblclick", event => this.toggle(this.at(event)));
    canvas.addEventListener("keydown", event => this.onKey(event));
    canvas.addEventListener("wheel", event => this.onWheel(event), { passive: false });
    this.resized = new ResizeObserver(() => this.onResize());
    this.resized.observe(canvas);
    this.themed = new MutationObserver(() => this.draw());
    this.themed.observe(document.body, { attributes: true, attributeFilter: ["class", "data-jp-theme-light", "data-jp-theme-name"] });
  }

  // What is shown: the nodes outside collapsed groups, and one node for each group that is collapsed

  renew() {
    const { names = [], operators = [], edges = [], layers = 0 } = this.model.get("graph");
    Object.assign(this, { names, operators, edges, layers: names.length ? layers : 0 });
    this.groups = groupsOf(names, this.layers);
    this.collapsed.clear();
    this.title.textContent = this.model.get("label");
    this.canvas.setAttribute("aria-label", `${this.model.get("label")}: arrow keys follow the edges, C collapses a group, plus and minus zoom`);
    this.tooMany = !names.length && layers > 0;
    this.fitted = false;
    this.arrange();
    this.fit();
  }

  arrange() {
    const place = new Map();
    this.shown = [];
    this.placeOf = new Int32Array(this.names.length);
    for (let node = 0; node < this.names.length; node += 1) {
      const path = this.groups.inside[node].find(group => this.collapsed.has(group));
      const key = path ?? node;
      if (!place.has(key)) {
        place.set(key, this.shown.length);
        this.shown.push(path === undefined ? { node } : { node, path, size: this.groups.members.get(path).length });
      }
      this.placeOf[node] = place.get(key);
    }
    const seen = new Set();
    this.links = [];
    for (let at = 0; at < this.edges.length; at += 2) {
      const from = this.placeOf[this.edges[at]];
      const to = this.placeOf[this.edges[at + 1]];
      const key = from * this.shown.length + to;
      if (from === to || seen.has(key)) continue;
      seen.add(key);
      this.links.push([from, to]);
    }
    this.plan = layout(this.shown.length, this.links);
    this.index();
    this.colour();
    const total = `${this.layers.toLocaleString("en-US")} ${this.layers === 1 ? "layer" : "layers"}`;
    this.count.textContent = this.tooMany ? "too large to draw" : total;
    this.groupsButton.hidden = !this.groups.members.size;
    this.groupsButton.textContent = this.collapsed.size ? "Expand groups" : "Collapse groups";
  }

  /** Which edges to look at when certain layers are in sight. */
  index() {
    this.leaving = this.shown.map(() => []);
    this.entering = this.shown.map(() => []);
    this.long = [];
    for (const link of this.links) {
      const [from, to] = link;
      this.leaving[from].push(to);
      this.entering[to].push(from);
      if (Math.abs(this.plan.layer[to] - this.plan.layer[from]) > LONG) this.long.push(link);
    }
    let [left, right] = [Infinity, -Infinity];
    for (const x of this.plan.x) {
      left = Math.min(left, x);
      right = Math.max(right, x);
    }
    this.bounds = { left: left * STEP.x, right: right * STEP.x + NODE.width, bottom: this.plan.members.length * STEP.y - NODE.gapY };
  }

  /** The tone and heat of each shown node; a group takes the worst of its members. */
  colour() {
    const tones = this.model.get("tones");
    const heat = this.model.get("heat");
    const worst = [0, 1, 3, 2]; // the rank of a tone: nothing, right, wrong, unknown
    for (const shown of this.shown) Object.assign(shown, { tone: 0, heat: 0 });
    for (let node = 0; node < this.layers; node += 1) {
      const shown = this.shown[this.placeOf[node]];
      const tone = tones[node] ?? 0;
      if (shown.path !== undefined && worst[tone] > worst[shown.tone]) shown.node = node;
      if (worst[tone] > worst[shown.tone]) shown.tone = tone;
      shown.heat = Math.max(shown.heat, heat[node] ?? 0);
    }
  }

  box(place) {
    return [this.plan.x[place] * STEP.x, this.plan.layer[place] * STEP.y];
  }

  // Drawing

  draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  onResize() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    if (!this.width) return;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    if (this.fitted) this.draw();
    else this.fit();
  }

  paint() {
    const context = this.canvas.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    this.ink = this.inks();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    const { scale, x, y } = this.view;
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
    const first = Math.max(0, Math.floor(-y / scale / STEP.y) - 1);
    const last = Math.min(this.plan.members.length - 1, Math.ceil((this.height - y) / scale / STEP.y));
    this.paintEdges(context, first, last);
    this.paintNodes(context, first, last);
  }

  /** The theme's values by name, each asked for once in a frame. */
  inks() {
    const style = getComputedStyle(this.root);
    const known = new Map();
    return (name, otherwise = "gray") => {
      if (!known.has(name)) known.set(name, style.getPropertyValue(name).trim() || otherwise);
      return known.get(name);
    };
  }

  paintEdges(context, first, last) {
    const chosen = this.placeOf[this.model.get("selected")] ?? -1;
    context.lineWidth = Math.max(1, 0.7 / this.view.scale);
    context.strokeStyle = this.ink("--wb-edge");
    const lit = [];
    context.beginPath();
    const trace = (from, to) => (from === chosen || to === chosen ? lit.push([from, to]) : this.trace(context, from, to));
    for (let at = Math.max(0, first - LONG); at <= last; at += 1) {
      for (const from of this.plan.members[at]) {
        for (const to of this.leaving[from]) {
          const span = this.plan.layer[to] - at;
          if (Math.abs(span) <= LONG && Math.max(at, at + span) >= first) trace(from, to);
        }
      }
    }
    for (const [from, to] of this.long) {
      if (this.plan.layer[to] >= first && this.plan.layer[from] <= last) trace(from, to);
    }
    context.stroke();
    context.beginPath();
    context.strokeStyle = this.ink("--wb-brand");
    context.lineWidth *= 1.8;
    for (const [from, to] of lit) this.trace(context, from, to);
    context.stroke();
  }

  /** An edge; one that skips layers goes around what lies between. */
  trace(context, from, to) {
    const [x1, y1] = this.box(from);
    const [x2, y2] = this.box(to);
    const start = [x1 + NODE.width / 2, y1 + NODE.height];
    const end = [x2 + NODE.width / 2, y2];
    const span = this.plan.layer[to] - this.plan.layer[from];
    context.moveTo(...start);
    if (this.view.scale < 0.12 && span === 1) {
      context.lineTo(...end);
      return;
    }
    const bend = span === 1 ? 0 : NODE.width * 0.62 + 16 * Math.log2(Math.abs(span) + 1);
    const dip = span === 1 ? NODE.gapY / 2 : NODE.gapY;
    context.bezierCurveTo(start[0] + bend, start[1] + dip, end[0] + bend, end[1] - dip, ...end);
  }

  paintNodes(context, first, last) {
    const { scale, x: offset } = this.view;
    const marked = new Set(this.model.get("marked").map(node => this.placeOf[node]));
    const chosen = this.placeOf[this.model.get("selected")] ?? -1;
    const left = -offset / scale - NODE.width;
    const right = (this.width - offset) / scale;
    for (let at = first; at <= last; at += 1) {
      for (const place of this.plan.members[at]) {
        const [x, y] = this.box(place);
        if (x < left || x > right) continue;
        this.paintNode(context, place, x, y, place === chosen ? "chosen" : marked.has(place) ? "marked" : "");
      }
    }
  }

  paintNode(context, place, x, y, state) {
    const shown = this.shown[place];
    const detailed = this.view.scale > 0.3;
    const plain = shown.node >= this.layers;
    context.fillStyle = this.ink(plain ? "--wb-shade" : "--wb-paper");
    context.strokeStyle = this.ink(state ? "--wb-brand" : "--wb-edge");
    context.lineWidth = (state === "chosen" ? 3 : state ? 2 : 1) / Math.min(1, this.view.scale * 1.5);
    if (!detailed) {
      context.fillStyle = this.ink(state ? "--wb-brand" : TONES[shown.tone] ?? "--wb-edge");
      context.fillRect(x, y, NODE.width, NODE.height);
      return;
    }
    context.beginPath();
    context.roundRect(x, y, NODE.width, NODE.height, plain ? NODE.height / 2 : 6);
    context.fill();
    if (state === "chosen") {
      context.fillStyle = this.ink("--wb-brand-soft");
      context.fill();
    }
    this.paintTone(context, shown, x, y);
    context.stroke();
    this.write(context, shown, x, y);
  }

  /** A bar at the left: its colour is the verdict, its length how near the error is to the tolerance. */
  paintTone(context, shown, x, y) {
    const tone = TONES[shown.tone];
    if (!tone) return;
    context.save();
    context.clip();
    context.fillStyle = this.ink(tone);
    context.fillRect(x, y, 5, NODE.height);
    context.globalAlpha = 0.25;
    context.fillRect(x + 5, y + NODE.height - 4, (NODE.width - 5) * (shown.tone === 2 ? 1 : shown.heat), 4);
    context.restore();
  }

  write(context, shown, x, y) {
    const font = this.ink("--jp-ui-font-family", "sans-serif");
    const inner = NODE.width - 18;
    const group = shown.path !== undefined;
    const heading = group ? shown.path.split("/").pop() : this.operators[shown.node];
    const below = group ? `${shown.size} layers` : this.names[shown.node];
    const both = this.view.scale > 0.6;
    context.fillStyle = this.ink("--wb-text");
    context.font = `600 13px ${font}`;
    context.textBaseline = "middle";
    context.fillText(this.fitText(context, heading, inner), x + 11, y + (both ? 13 : NODE.height / 2));
    if (!both) return;
    context.fillStyle = this.ink("--wb-faint");
    context.font = `11px ${font}`;
    context.fillText(this.fitText(context, below, inner), x + 11, y + 28);
  }

  /** A long text loses its beginning, since names differ at their ends. */
  fitText(context, text, width) {
    if (context.measureText(text).width <= width) return text;
    let [low, high] = [0, text.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (context.measureText(`…${text.slice(middle)}`).width <= width) high = middle;
      else low = middle + 1;
    }
    return `…${text.slice(low)}`;
  }

  // Where one looks

  /** The whole graph; at first only its beginning, if the whole is too small to be read. */
  fit() {
    if (!this.width || !this.shown.length) return this.draw();
    const { left, right, bottom } = this.bounds;
    const whole = Math.min(1, (this.width - 24) / (right - left), (this.height - 24) / bottom);
    const scale = this.fitted ? whole : Math.max(whole, Math.min(0.75, Math.max(0.5, (this.width - 24) / (right - left))));
    this.fitted = true;
    const wide = (right - left) * scale > this.width;
    const middle = wide && scale > whole ? this.box(0)[0] + NODE.width / 2 : (left + right) / 2;
    const y = scale > whole ? 12 : (this.height - bottom * scale) / 2;
    this.view = { scale, x: this.width / 2 - middle * scale, y };
    this.draw();
  }

  zoom(by, at = [this.width / 2, this.height / 2]) {
    const scale = Math.min(3, Math.max(0.005, this.view.scale * by));
    const ratio = scale / this.view.scale;
    this.view = { scale, x: at[0] - (at[0] - this.view.x) * ratio, y: at[1] - (at[1] - this.view.y) * ratio };
    this.draw();
  }

  onWheel(event) {
    // The page scrolls on unless the reader is in the graph: it has the focus, or a key is held.
    if (document.activeElement !== this.canvas && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    this.zoom(Math.exp(-event.deltaY * 0.0015), [event.clientX - box.left, event.clientY - box.top]);
  }

  /** Bring a node into sight, in a size that can be read. */
  reveal(place) {
    if (place === undefined || place < 0 || !this.width) return;
    const [x, y] = this.box(place);
    const { view } = this;
    if (view.scale < 0.5) view.scale = 0.8;
    const at = [x * view.scale + view.x, y * view.scale + view.y];
    const size = [NODE.width * view.scale, NODE.height * view.scale];
    if (at[0] < 8 || at[0] + size[0] > this.width - 8) view.x = this.width / 2 - (x + NODE.width / 2) * view.scale;
    if (at[1] < 8 || at[1] + size[1] > this.height - 8) view.y = this.height / 2 - (y + NODE.height / 2) * view.scale;
  }

  // Mouse and keyboard

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = (event.clientX - box.left - this.view.x) / this.view.scale;
    const y = (event.clientY - box.top - this.view.y) / this.view.scale;
    const members = this.plan.members[Math.floor(y / STEP.y)] ?? [];
    if (y - Math.floor(y / STEP.y) * STEP.y > NODE.height) return -1;
    return members.find(place => x >= this.box(place)[0] && x <= this.box(place)[0] + NODE.width) ?? -1;
  }

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pressed = { x: event.clientX, y: event.clientY, from: { ...this.view }, moved: false };
  }

  move(event) {
    if (!this.pressed) return this.hover(this.at(event), event);
    const by = [event.clientX - this.pressed.x, event.clientY - this.pressed.y];
    if (!this.pressed.moved && Math.hypot(...by) < 4) return;
    this.pressed.moved = true;
    this.hover(-1);
    Object.assign(this.view, { x: this.pressed.from.x + by[0], y: this.pressed.from.y + by[1] });
    this.draw();
  }

  release(event) {
    const moved = this.pressed?.moved;
    this.pressed = null;
    const place = this.at(event);
    if (!moved && place >= 0) this.choose(place);
  }

  hover(place, event) {
    this.canvas.style.cursor = place >= 0 ? "pointer" : "grab";
    this.tip.hidden = place < 0;
    if (place < 0) return;
    this.tip.textContent = this.sentence(place).join("\n");
    const box = this.root.getBoundingClientRect();
    const x = event.clientX - box.left;
    this.tip.style.left = x > box.width / 2 ? "auto" : `${x + 14}px`;
    this.tip.style.right = x > box.width / 2 ? `${box.width - x + 14}px` : "auto";
    this.tip.style.top = `${event.clientY - box.top + 14}px`;
  }

  sentence(place) {
    const shown = this.shown[place];
    const group = shown.path !== undefined;
    const lines = group ? [shown.path, `group of ${shown.size} layers`] : [this.operators[shown.node], this.names[shown.node]];
    if (SPOKEN[shown.tone]) lines.push(SPOKEN[shown.tone]);
    return lines;
  }

  choose(place) {
    const { node } = this.shown[place];
    this.said.textContent = this.sentence(place).join(", ");
    if (node >= this.layers) return;
    this.model.set("selected", node);
    this.model.save_changes();
  }

  /** Nothing is chosen any more. */
  leave() {
    this.hover(-1);
    this.said.textContent = "nothing chosen";
    this.model.set("selected", -1);
    this.model.save_changes();
  }

  /** Expand a collapsed group; collapse the innermost group of a node. */
  toggle(place) {
    if (place < 0) return;
    const { node, path } = this.shown[place];
    const target = path ?? this.groups.inside[node].at(-1);
    if (target === undefined) return;
    if (path !== undefined) this.collapsed.delete(path);
    else this.collapsed.add(target);
    this.arrange();
    this.reveal(this.placeOf[node]);
    this.draw();
  }

  toggleAll() {
    if (this.collapsed.size) this.collapsed.clear();
    else for (const path of this.groups.members.keys()) this.collapsed.add(path);
    this.arrange();
    this.fit();
  }

  onKey(event) {
    const chosen = this.model.get("selected");
    const place = chosen >= 0 ? this.placeOf[chosen] : -1;
    const acts = {
      ArrowDown: () => this.follow(place, this.leaving[place]),
      ArrowUp: () => this.follow(place, this.entering[place]),
      ArrowRight: () => this.beside(place, 1),
      ArrowLeft: () => this.beside(place, -1),
      Home: () => this.choose(0),
      End: () => this.choose(this.placeOf[this.layers - 1]),
      Enter: () => this.toggle(place),
      c: () => this.toggle(place),
      Escape: place >= 0 ? () => this.leave() : undefined,
      "+": () => this.zoom(1.4),
      "=": () => this.zoom(1.4),
      "-": () => this.zoom(1 / 1.4),
      0: () => this.fit()
    };
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || !this.shown.length) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  /** Along an edge; without a choice so far, to the first layer. */
  follow(place, joined) {
    if (place < 0) return this.choose(0);
    const next = joined.find(other => this.shown[other].node < this.layers);
    if (next !== undefined) this.choose(next);
  }

  beside(place, step) {
    if (place < 0) return this.choose(0);
    const members = this.plan.members[this.plan.layer[place]];
    const next = members[members.indexOf(place) + step];
    if (next !== undefined) this.choose(next);
  }

  onSelected() {
    const chosen = this.model.get("selected");
    if (chosen >= 0) {
      this.reveal(this.placeOf[chosen]);
      this.said.textContent = this.sentence(this.placeOf[chosen]).join(", ");
    }
    this.draw();
  }

  onMarked() {
    const [first] = this.model.get("marked");
    if (first !== undefined) this.reveal(this.placeOf[first]);
    this.draw();
  }

  onColours() {
    this.colour();
    this.draw();
  }
}

function render({ model, el }) {
  const graph = new Graph(model, el);
  const heard = {
    "change:graph": () => graph.renew(),
    "change:tones": () => graph.onColours(),
    "change:heat": () => graph.onColours(),
    "change:selected": () => graph.onSelected(),
    "change:marked": () => graph.onMarked()
  };
  for (const [name, act] of Object.entries(heard)) model.on(name, act);
  return () => {
    graph.resized.disconnect();
    graph.themed.disconnect();
    cancelAnimationFrame(graph.frame);
    for (const [name, act] of Object.entries(heard)) model.off(name, act);
  };
}

export default { render };
