// What a graph shows and where it stands: the nodes outside collapsed groups, one node for each group that is collapsed,
// and what joins them. A place is the index of what is shown; a node is one of the model's. Nothing is drawn here.

const NODE = { width: 150, height: 38, gapX: 18, gapY: 34 };
const STEP = { x: NODE.width + NODE.gapX, y: NODE.height + NODE.gapY };
const LONG = 12; // layers; an edge that spans more is looked at in every frame
const SPOKEN = ["", "within tolerance", "beyond tolerance", "no counterpart"];
const WORST = [0, 1, 3, 2]; // the rank of a tone: nothing, right, wrong, unknown

class Scene {
  constructor({ names = [], operators = [], edges = [], layers = 0 }) {
    Object.assign(this, { names, operators, edges, layers: names.length ? layers : 0 });
    this.total = layers; // also where there are too many to be sent
    this.groups = groupsOf(names, this.layers);
    this.collapsed = new Set();
    this.arrange();
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
    this.links = this.join();
    this.plan = layout(this.shown.length, this.links);
    this.index();
    this.colour([], []);
  }

  /** The edges between different places, each once. */
  join() {
    const seen = new Set();
    const links = [];
    for (let at = 0; at < this.edges.length; at += 2) {
      const from = this.placeOf[this.edges[at]];
      const to = this.placeOf[this.edges[at + 1]];
      const key = from * this.shown.length + to;
      if (from === to || seen.has(key)) continue;
      seen.add(key);
      links.push([from, to]);
    }
    return links;
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
  colour(tones, heat) {
    for (const shown of this.shown) Object.assign(shown, { tone: 0, heat: 0 });
    for (let node = 0; node < this.layers; node += 1) {
      const shown = this.shown[this.placeOf[node]];
      const tone = tones[node] ?? 0;
      if (shown.path !== undefined && WORST[tone] > WORST[shown.tone]) shown.node = node;
      if (WORST[tone] > WORST[shown.tone]) shown.tone = tone;
      shown.heat = Math.max(shown.heat, heat[node] ?? 0);
    }
  }

  /** Collapse or expand the group that a place is, or else is in; whether there is one. */
  toggle(place) {
    const { node, path } = this.shown[place];
    const target = path ?? this.groups.inside[node].at(-1);
    if (target === undefined) return false;
    if (path !== undefined) this.collapsed.delete(path);
    else this.collapsed.add(target);
    this.arrange();
    return true;
  }

  toggleAll() {
    if (this.collapsed.size) this.collapsed.clear();
    else for (const path of this.groups.members.keys()) this.collapsed.add(path);
    this.arrange();
  }

  /** The left upper corner of a place. */
  box(place) {
    return [this.plan.x[place] * STEP.x, this.plan.layer[place] * STEP.y];
  }

  /** The place at a point, or -1. */
  at(x, y) {
    const layer = Math.floor(y / STEP.y);
    if (y - layer * STEP.y > NODE.height) return -1;
    const members = this.plan.members[layer] ?? [];
    return members.find(place => x >= this.box(place)[0] && x <= this.box(place)[0] + NODE.width) ?? -1;
  }

  /** The next layer along an edge, down or up; undefined if there is none. */
  joined(place, down) {
    return (down ? this.leaving : this.entering)[place].find(other => this.shown[other].node < this.layers);
  }

  beside(place, step) {
    const members = this.plan.members[this.plan.layer[place]];
    return members[members.indexOf(place) + step];
  }

  /** What a place is, in lines. */
  sentence(place) {
    const shown = this.shown[place];
    const group = shown.path !== undefined;
    const lines = group ? [shown.path, `group of ${shown.size} layers`] : [this.operators[shown.node], this.names[shown.node]];
    if (SPOKEN[shown.tone]) lines.push(SPOKEN[shown.tone]);
    return lines;
  }
}
