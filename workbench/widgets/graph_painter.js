// Draws what is in sight of a scene on a canvas. From afar no more is drawn than there are pixels to tell apart. While the
// graph is dragged, a sheet that was drawn once and is larger than the canvas moves beneath it.

const TONES = [null, "--wb-good", "--wb-bad", "--wb-faint"];
const NEAR = 0.3; // from this scale on nodes have an outline and words
const BENT = 0.04; // below this scale edges are straight
const DOT = 2; // pixels; a node is not drawn smaller
const KEPT = 5000; // texts
const MARGIN = 1 / 3; // of the canvas, how much further the sheet reaches at each side

class Painter {
  constructor(root, canvas) {
    this.root = root;
    this.canvas = canvas;
    this.fitting = new Map();
  }

  /** Take over the size of the canvas on the page; whether it has one. */
  resize() {
    this.ratio = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    if (!this.width) return false;
    this.canvas.width = Math.round(this.width * this.ratio);
    this.canvas.height = Math.round(this.height * this.ratio);
    return true;
  }

  /** Draw; `chosen` is a place or -1, `marked` a set of places. While `dragged`, only where one looks has changed. */
  show(scene, view, chosen, marked, dragged) {
    Object.assign(this, { scene, chosen, marked, ink: this.inks() });
    if (!dragged) {
      this.sheet = null;
      this.paint(this.canvas, view, this.width, this.height);
      return;
    }
    const [beside, above] = [Math.round(this.width * MARGIN), Math.round(this.height * MARGIN)];
    const moved = () => [view.x - this.sheet.view.x, view.y - this.sheet.view.y];
    if (!this.sheet || Math.abs(moved()[0]) > beside || Math.abs(moved()[1]) > above) {
      const canvas = document.createElement("canvas");
      const [width, height] = [this.width + 2 * beside, this.height + 2 * above];
      Object.assign(canvas, { width: width * this.ratio, height: height * this.ratio });
      this.sheet = { canvas, view: { ...view } };
      this.paint(canvas, { ...view, x: view.x + beside, y: view.y + above }, width, height);
    }
    const [x, y] = moved();
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.sheet.canvas, Math.round((x - beside) * this.ratio), Math.round((y - above) * this.ratio));
  }

  paint(canvas, view, width, height) {
    const context = canvas.getContext("2d");
    Object.assign(this, { context, view, across: width });
    const { ratio, scene } = this;
    const { scale, x, y } = view;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const first = Math.max(0, Math.floor(-y / scale / STEP.y) - 1);
    const last = Math.min(scene.plan.members.length - 1, Math.ceil((height - y) / scale / STEP.y));
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
    this.paintEdges(first, last);
    if (scale > NEAR) {
      this.inSight(first, last, (place, x, y) => this.paintNode(place, x, y));
    } else {
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      this.paintDots(first, last);
    }
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

  inSight(first, last, act) {
    const { scale, x: offset } = this.view;
    const left = -offset / scale - NODE.width;
    const right = (this.across - offset) / scale;
    for (let at = first; at <= last; at += 1) {
      for (const place of this.scene.plan.members[at]) {
        const [x, y] = this.scene.box(place);
        if (x >= left && x <= right) act(place, x, y);
      }
    }
  }

  // Edges

  paintEdges(first, last) {
    const { context, chosen } = this;
    const { layer, members } = this.scene.plan;
    const lit = [];
    const drawn = this.view.scale < BENT ? new Set() : null;
    const trace = (from, to) => {
      if (from === chosen || to === chosen) lit.push([from, to]);
      else if (this.isDistinct(from, to, drawn)) this.trace(from, to);
    };
    context.lineWidth = Math.max(1, 0.7 / this.view.scale);
    context.strokeStyle = this.ink("--wb-edge");
    context.beginPath();
    for (let at = Math.max(0, first - LONG); at <= last; at += 1) {
      for (const from of members[at]) {
        for (const to of this.scene.leaving[from]) {
          const span = layer[to] - at;
          if (Math.abs(span) <= LONG && Math.max(at, at + span) >= first) trace(from, to);
        }
      }
    }
    for (const [from, to] of this.scene.long) {
      if (layer[to] >= first && layer[from] <= last) trace(from, to);
    }
    context.stroke();
    context.beginPath();
    context.strokeStyle = this.ink("--wb-brand");
    context.lineWidth *= 1.8;
    for (const [from, to] of lit) this.trace(from, to);
    context.stroke();
  }

  /** Whether an edge is in sight from the left to the right and, from afar, one that is not drawn between these dots yet. */
  isDistinct(from, to, drawn) {
    const { scale, x: offset } = this.view;
    const { x, layer } = this.scene.plan;
    const x1 = x[from] * STEP.x * scale + offset;
    const x2 = x[to] * STEP.x * scale + offset;
    const aside = NODE.width * 2 * scale; // how far an edge bends, and a node reaches
    if ((x1 < -aside && x2 < -aside) || (x1 > this.across + aside && x2 > this.across + aside)) return false;
    if (drawn === null) return true;
    const [column, row] = [Math.floor(x1 / DOT), Math.floor((layer[from] * STEP.y * scale) / DOT)];
    const [right, down] = [Math.floor(x2 / DOT) - column, Math.floor((layer[to] * STEP.y * scale) / DOT) - row];
    if (!right && down <= 1) return false; // the dots touch
    const key = ((row * 65536 + column) * 4096 + right) * 1024 + down;
    if (drawn.has(key)) return false;
    drawn.add(key);
    return true;
  }

  /** An edge; one that skips layers goes around what lies between. */
  trace(from, to) {
    const { context } = this;
    const [x1, y1] = this.scene.box(from);
    const [x2, y2] = this.scene.box(to);
    const start = [x1 + NODE.width / 2, y1 + NODE.height];
    const end = [x2 + NODE.width / 2, y2];
    const span = this.scene.plan.layer[to] - this.scene.plan.layer[from];
    context.moveTo(...start);
    if (this.view.scale < BENT || (this.view.scale < 3 * BENT && span === 1)) {
      context.lineTo(...end);
      return;
    }
    const bend = span === 1 ? 0 : NODE.width * 0.62 + 16 * Math.log2(Math.abs(span) + 1);
    const dip = span === 1 ? NODE.gapY / 2 : NODE.gapY;
    context.bezierCurveTo(start[0] + bend, start[1] + dip, end[0] + bend, end[1] - dip, ...end);
  }

  // Nodes from afar

  /** A rectangle of one colour for each node; of those on the same pixels the worst, what is chosen above all. */
  paintDots(first, last) {
    const { scale, x: left, y: top } = this.view;
    const width = Math.max(DOT, NODE.width * scale);
    const height = Math.max(DOT, NODE.height * scale);
    const columns = Math.ceil(this.across / DOT) + 1;
    const taken = new Map();
    const ranks = [[], [], [], [], []];
    this.inSight(first, last, (place, x, y) => {
      const at = [x * scale + left, y * scale + top];
      const rank = place === this.chosen || this.marked.has(place) ? 4 : WORST[this.scene.shown[place].tone];
      const pixel = Math.floor(at[1] / DOT) * columns + Math.floor(at[0] / DOT);
      if ((taken.get(pixel) ?? -1) >= rank) return;
      taken.set(pixel, rank);
      ranks[rank].push(at);
    });
    const inks = ["--wb-edge", "--wb-good", "--wb-faint", "--wb-bad", "--wb-brand"];
    ranks.forEach((corners, rank) => {
      this.context.fillStyle = this.ink(inks[rank]);
      const more = rank === 4 ? 2 : 0; // what is chosen is found among ten thousand
      for (const [x, y] of corners) this.context.fillRect(x - more, y - more, width + 2 * more, height + 2 * more);
    });
  }

  // Nodes from near

  paintNode(place, x, y) {
    const { context } = this;
    const shown = this.scene.shown[place];
    const state = place === this.chosen ? "chosen" : this.marked.has(place) ? "marked" : "";
    const plain = shown.node >= this.scene.layers;
    context.fillStyle = this.ink(plain ? "--wb-shade" : "--wb-paper");
    context.strokeStyle = this.ink(state ? "--wb-brand" : "--wb-edge");
    context.lineWidth = (state === "chosen" ? 3 : state ? 2 : 1) / Math.min(1, this.view.scale * 1.5);
    context.beginPath();
    context.roundRect(x, y, NODE.width, NODE.height, plain ? NODE.height / 2 : 6);
    context.fill();
    if (state === "chosen") {
      context.fillStyle = this.ink("--wb-brand-soft");
      context.fill();
    }
    this.paintTone(shown, x, y);
    context.stroke();
    this.write(shown, x, y);
  }

  /** A bar at the left: its colour is the verdict, its length how near the error is to the tolerance. */
  paintTone(shown, x, y) {
    const { context } = this;
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

  write(shown, x, y) {
    const { context, scene } = this;
    const font = this.ink("--jp-ui-font-family", "sans-serif");
    const inner = NODE.width - 18;
    const group = shown.path !== undefined;
    const heading = group ? shown.path.split("/").pop() : scene.operators[shown.node];
    const below = group ? `${shown.size} layers` : scene.names[shown.node];
    const both = this.view.scale > 0.6;
    context.fillStyle = this.ink("--wb-text");
    context.font = `600 13px ${font}`;
    context.textBaseline = "middle";
    context.fillText(this.fitText(heading, inner), x + 11, y + (both ? 13 : NODE.height / 2));
    if (!both) return;
    context.fillStyle = this.ink("--wb-faint");
    context.font = `11px ${font}`;
    context.fillText(this.fitText(below, inner), x + 11, y + 28);
  }

  /** A long text loses its beginning, since names differ at their ends. Measuring is slow: what was found is kept. */
  fitText(text, width) {
    const key = `${this.context.font}\n${text}`;
    if (!this.fitting.has(key)) {
      if (this.fitting.size > KEPT) this.fitting.clear();
      this.fitting.set(key, this.shortened(text, width));
    }
    return this.fitting.get(key);
  }

  shortened(text, width) {
    const { context } = this;
    if (context.measureText(text).width <= width) return text;
    let [low, high] = [0, text.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (context.measureText(`…${text.slice(middle)}`).width <= width) high = middle;
      else low = middle + 1;
    }
    return `…${text.slice(low)}`;
  }
}
