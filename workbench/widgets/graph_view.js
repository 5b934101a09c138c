// The graph of a model on a canvas: drag to pan, wheel to zoom, click or arrow keys to choose, groups to collapse.
// What is shown is in graph_scene.js, where it stands in graph_layout.js, how it is drawn in graph_painter.js.

function button(text, label, act) {
  const node = document.createElement("button");
  node.type = "button";
  node.textContent = text;
  node.title = label;
  if (text.length === 1) node.setAttribute("aria-label", label); // a sign and not a word
  node.addEventListener("click", act);
  return node;
}

class Graph {
  constructor(model, el) {
    this.model = model;
    this.view = { scale: 1, x: 0, y: 0 };
    this.build(el);
    this.painter = new Painter(el, this.canvas);
    this.renew();
  }

  build(el) {
    el.classList.add("wb-view", "wb-graph");
    this.root = el;
    this.title = document.createElement("strong");
    this.count = document.createElement("span");
    this.count.className = "wb-count";
    this.groupsButton = button("Collapse groups", "Collapse or expand all groups", () => this.toggleAll());
    const buttons = document.createElement("div");
    buttons.className = "wb-buttons";
    buttons.append(
      this.groupsButton,
      button("−", "Zoom out", () => this.zoom(1 / 1.4)),
      button("+", "Zoom in", () => this.zoom(1.4)),
      button("Fit", "Show the whole graph", () => this.fit())
    );
    const bar = document.createElement("div");
    bar.className = "wb-bar";
    bar.append(this.title, this.count, buttons);
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

  renew() {
    this.scene = new Scene(this.model.get("graph"));
    this.title.textContent = this.model.get("label");
    this.canvas.setAttribute("aria-label", `${this.model.get("label")}: arrow keys follow the edges, C collapses a group, plus and minus zoom`);
    this.fitted = false;
    this.onArranged();
    this.fit();
  }

  /** Other nodes are shown than before. */
  onArranged() {
    const { scene } = this;
    scene.colour(this.model.get("tones"), this.model.get("heat"));
    const total = `${scene.layers.toLocaleString("en-US")} ${scene.layers === 1 ? "layer" : "layers"}`;
    this.count.textContent = scene.total > scene.layers ? "too large to draw" : total;
    this.groupsButton.hidden = !scene.groups.members.size;
    this.groupsButton.textContent = scene.collapsed.size ? "Expand groups" : "Collapse groups";
  }

  // Drawing

  draw() {
    this.dragged = false;
    this.schedule();
  }

  schedule() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      const { placeOf } = this.scene;
      const marked = new Set(this.model.get("marked").map(node => placeOf[node]));
      this.painter.show(this.scene, this.view, placeOf[this.model.get("selected")] ?? -1, marked, this.dragged);
      this.dragged = true; // until something else than the view has changed
    });
  }

  onResize() {
    if (!this.painter.resize()) return;
    if (this.fitted) return this.draw();
    this.fit();
    this.revealChosen();
  }

  // Where one looks

  /** The whole graph; at first only its beginning, if the whole is too small to be read. */
  fit() {
    const { width, height } = this.painter;
    if (!width || !this.scene.shown.length) return this.draw();
    const { left, right, bottom } = this.scene.bounds;
    const whole = Math.min(1, (width - 24) / (right - left), (height - 24) / bottom);
    const scale = this.fitted ? whole : Math.max(whole, Math.min(0.75, Math.max(0.5, (width - 24) / (right - left))));
    this.fitted = true;
    const wide = (right - left) * scale > width;
    const middle = wide && scale > whole ? this.scene.box(0)[0] + NODE.width / 2 : (left + right) / 2;
    const y = scale > whole ? 12 : (height - bottom * scale) / 2;
    this.view = { scale, x: width / 2 - middle * scale, y };
    this.draw();
  }

  zoom(by, at = [this.painter.width / 2, this.painter.height / 2]) {
    const least = Math.min(0.005, this.view.scale); // a very large graph as a whole is smaller
    const scale = Math.min(3, Math.max(least, this.view.scale * by));
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
    const { width, height } = this.painter;
    if (place === undefined || place < 0 || !width) return;
    const [x, y] = this.scene.box(place);
    const { view } = this;
    if (view.scale < 0.5) view.scale = 0.8;
    const at = [x * view.scale + view.x, y * view.scale + view.y];
    const size = [NODE.width * view.scale, NODE.height * view.scale];
    if (at[0] < 8 || at[0] + size[0] > width - 8) view.x = width / 2 - (x + NODE.width / 2) * view.scale;
    if (at[1] < 8 || at[1] + size[1] > height - 8) view.y = height / 2 - (y + NODE.height / 2) * view.scale;
  }

  // Mouse

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const { scale, x, y } = this.view;
    return this.scene.at((event.clientX - box.left - x) / scale, (event.clientY - box.top - y) / scale);
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
    this.schedule();
  }

  release(event) {
    const moved = this.pressed?.moved;
    this.pressed = null;
    const place = this.at(event);
    if (moved) this.draw();
    else if (place >= 0) this.choose(place);
  }

  hover(place, event) {
    this.canvas.style.cursor = place >= 0 ? "pointer" : "grab";
    this.tip.hidden = place < 0;
    if (place < 0) return;
    this.tip.textContent = this.scene.sentence(place).join("\n");
    const box = this.root.getBoundingClientRect();
    const x = event.clientX - box.left;
    this.tip.style.left = x > box.width / 2 ? "auto" : `${x + 14}px`;
    this.tip.style.right = x > box.width / 2 ? `${box.width - x + 14}px` : "auto";
    this.tip.style.top = `${event.clientY - box.top + 14}px`;
  }

  // Choosing, and groups

  choose(place) {
    if (place === undefined) return;
    const { node } = this.scene.shown[place];
    this.said.textContent = this.scene.sentence(place).join(", ");
    if (node >= this.scene.layers) return;
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
    const { node } = this.scene.shown[place];
    if (!this.scene.toggle(place)) return;
    this.onArranged();
    this.reveal(this.scene.placeOf[node]);
    this.draw();
  }

  toggleAll() {
    this.scene.toggleAll();
    this.onArranged();
    this.fit();
  }

  onKey(event) {
    const { scene } = this;
    const chosen = this.model.get("selected");
    const place = chosen >= 0 ? scene.placeOf[chosen] : -1;
    const go = next => () => this.choose(place < 0 ? 0 : next()); // without a choice so far, to the first layer
    const acts = {
      ArrowDown: go(() => scene.joined(place, true)),
      ArrowUp: go(() => scene.joined(place, false)),
      ArrowRight: go(() => scene.beside(place, 1)),
      ArrowLeft: go(() => scene.beside(place, -1)),
      Home: () => this.choose(0),
      End: () => this.choose(scene.placeOf[scene.layers - 1]),
      Enter: () => this.toggle(place),
      c: () => this.toggle(place),
      Escape: place >= 0 ? () => this.leave() : undefined,
      "+": () => this.zoom(1.4),
      "=": () => this.zoom(1.4),
      "-": () => this.zoom(1 / 1.4),
      0: () => this.fit()
    };
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || !scene.shown.length) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  onSelected() {
    const chosen = this.model.get("selected");
    if (chosen >= 0) {
      const place = this.scene.placeOf[chosen];
      this.reveal(place);
      this.said.textContent = this.scene.sentence(place).join(", ");
    }
    this.draw();
  }

  onMarked() {
    this.revealChosen();
    this.draw();
  }

  /** What was chosen here, else the first of what stands for a choice elsewhere. */
  revealChosen() {
    const chosen = this.model.get("selected");
    const [first] = this.model.get("marked");
    const node = chosen >= 0 ? chosen : first;
    if (node !== undefined) this.reveal(this.scene.placeOf[node]);
  }

  onColours() {
    this.scene.colour(this.model.get("tones"), this.model.get("heat"));
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
