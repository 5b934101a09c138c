// A table of any number of rows: only those in sight exist as elements. Sorting and filtering happen here.
// The first rows come with the state; the view asks for the others in pieces, so that no message grows large.

const ROW = 26;
const HEAD = 30;
const TAIL = 11; // characters of a long name that are always seen
const SHARE = 87; // pixels that a column of the width 1fr has at least; in a narrow place the table scrolls aside

function formatted(value, kind) {
  if (value === null || value === undefined) return "—";
  if (kind !== "number" || typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  return size >= 0.01 && size < 1e4 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
}

function compared(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  const rank = value => (value === null ? 2 : typeof value === "number" ? 0 : 1);
  return rank(a) - rank(b) || String(a).localeCompare(String(b), undefined, { numeric: true });
}

function cell(text, role, className) {
  const node = document.createElement("span");
  node.setAttribute("role", role);
  if (className) node.className = className;
  node.textContent = text;
  return node;
}

/** A long name loses its middle, since names of layers differ at their ends. */
function fill(node, text, kind) {
  if (text.length <= 24 || kind !== "text") {
    node.textContent = text;
    return;
  }
  node.classList.add("wb-long");
  const head = document.createElement("span");
  const tail = document.createElement("span");
  head.textContent = text.slice(0, -TAIL);
  tail.textContent = text.slice(-TAIL);
  node.append(head, tail);
  node.setAttribute("aria-label", text); // in one piece
}

class Table {
  constructor(model, el) {
    this.model = model;
    this.rows = [];
    this.order = [];
    this.sorted = { column: -1, descending: false };
    this.id = `wb-${Math.random().toString(36).slice(2)}`;
    this.build(el);
    this.renew();
  }

  build(el) {
    el.classList.add("wb-view", "wb-table");
    const bar = document.createElement("div");
    bar.className = "wb-bar";
    this.filter = document.createElement("input");
    this.filter.type = "search";
    this.filter.placeholder = "Filter";
    this.filter.setAttribute("aria-label", `Filter ${this.model.get("label")}`);
    this.count = document.createElement("span");
    this.count.className = "wb-count";
    this.count.setAttribute("role", "status");
    bar.append(this.filter, this.count);
    const frame = document.createElement("div");
    frame.className = "wb-grid";
    this.body = document.createElement("div"); // scrolls, has the focus, and is the grid
    this.body.className = "wb-body";
    this.body.tabIndex = 0;
    this.body.setAttribute("role", "grid");
    this.head = document.createElement("div");
    this.head.className = "wb-head";
    this.head.setAttribute("role", "row");
    const group = document.createElement("div");
    group.className = "wb-rows";
    group.setAttribute("role", "rowgroup");
    this.spacer = document.createElement("div");
    this.window = document.createElement("div");
    this.window.className = "wb-window";
    this.window.setAttribute("role", "presentation");
    group.append(this.spacer, this.window);
    this.body.append(this.head, group);
    frame.append(this.body);
    el.append(bar, frame);
    this.body.style.setProperty("--wb-height", `${this.model.get("height") + HEAD}px`);
    this.filter.addEventListener("input", () => this.arrange());
    this.body.addEventListener("scroll", () => this.draw());
    this.body.addEventListener("click", event => {
      const line = event.target.closest(".wb-line");
      if (!line) return;
      this.body.focus({ preventScroll: true });
      if (event.target.closest(".wb-check")) this.mark(Number(line.dataset.row));
      else this.select(Number(line.dataset.row));
    });
    this.body.addEventListener("keydown", event => event.target.tagName !== "BUTTON" && this.onKey(event));
    this.resized = new ResizeObserver(() => this.onResize());
    this.resized.observe(this.body);
  }

  /** How much of the rows is in sight. */
  get viewport() {
    return Math.max(0, this.body.clientHeight - HEAD);
  }

  /** What was chosen before the table came into sight is shown then. */
  onResize() {
    if (!this.inSight) this.reveal();
    this.inSight = this.viewport > 0;
    this.draw();
  }

  /** New rows from the kernel. */
  renew() {
    this.rows = this.model.get("rows").slice();
    this.sorted = { column: -1, descending: false };
    this.columns = this.model.get("columns");
    this.markable = this.model.get("markable");
    const tracks = this.columns.map(column => `minmax(0, ${column.width})`);
    this.body.style.setProperty("--wb-columns", (this.markable ? ["18px", ...tracks] : tracks).join(" "));
    const shares = this.columns.reduce((sum, column) => sum + (Number.parseFloat(column.width) || 1), 0);
    this.body.style.setProperty("--wb-least", `${Math.round(shares * SHARE)}px`);
    const keys = `arrow keys choose a row${this.markable ? ", the space bar marks it" : ""}`;
    this.body.setAttribute("aria-label", `${this.model.get("label")}: ${keys}`);
    this.body.setAttribute("aria-colcount", this.columns.length + this.markable);
    this.drawHead();
    this.arrange();
    this.askForMore();
  }

  askForMore() {
    if (this.rows.length < this.model.get("total")) {
      this.model.send({ type: "more", start: this.rows.length, version: this.model.get("version") });
    }
  }

  receive(message) {
    const fits = message.version === this.model.get("version") && message.start === this.rows.length;
    if (message.type !== "rows" || !fits) return;
    this.rows.push(...message.rows);
    this.arrange();
    this.askForMore();
  }

  drawHead() {
    const first = this.markable ? [cell("✓", "columnheader")] : [];
    if (this.markable) first[0].setAttribute("aria-label", "Marked; the space bar marks a row");
    this.head.replaceChildren(
      ...first,
      ...this.columns.map((column, index) => {
        const node = cell("", "columnheader", column.kind === "number" ? "wb-number" : "");
        const active = this.sorted.column === index;
        const direction = this.sorted.descending ? "descending" : "ascending";
        node.setAttribute("aria-sort", active ? direction : "none");
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = column.title + (active ? (this.sorted.descending ? " ▾" : " ▴") : "");
        button.title = `Sort by ${column.title}`;
        button.addEventListener("click", () => this.sortBy(index));
        node.append(button);
        return node;
      })
    );
  }

  /** Ascending, descending, then back to the model's own order; numbers start with the largest. */
  sortBy(column) {
    const first = this.columns[column].kind === "number";
    if (this.sorted.column !== column) this.sorted = { column, descending: first };
    else if (this.sorted.descending === first) this.sorted = { column, descending: !first };
    else this.sorted = { column: -1, descending: false };
    this.drawHead();
    this.head.children[column + this.markable].firstChild.focus();
    this.arrange();
  }

  arrange() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = row => {
      const text = row.join("\n").toLowerCase();
      return words.every(word => text.includes(word));
    };
    this.order = [];
    this.rows.forEach((row, index) => {
      if (!words.length || matches(row)) this.order.push(index);
    });
    const { column, descending } = this.sorted;
    if (column >= 0) {
      const sign = descending ? -1 : 1;
      this.order.sort((a, b) => {
        const [x, y] = [this.rows[a][column], this.rows[b][column]];
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        return sign * compared(x, y) || a - b;
      });
    }
    const total = this.model.get("total");
    const shown = this.order.length.toLocaleString("en-US");
    this.count.textContent = words.length ? `${shown} of ${total.toLocaleString("en-US")}` : `${shown} rows`;
    this.body.setAttribute("aria-rowcount", total + 1);
    this.spacer.style.height = `${this.order.length * ROW}px`;
    const height = Math.min(this.model.get("height"), Math.max(this.order.length, 2) * ROW + 2);
    const bar = this.body.offsetHeight - this.body.clientHeight; // if it scrolls aside
    this.body.style.setProperty("--wb-height", `${height + HEAD + bar}px`);
    this.reveal();
    this.draw();
  }

  draw() {
    const chosen = this.model.get("selected");
    const marked = new Set(this.model.get("marked"));
    const first = Math.max(0, Math.floor(this.body.scrollTop / ROW) - 4);
    const last = Math.min(this.order.length, first + Math.ceil(this.viewport / ROW) + 8);
    this.window.style.transform = `translateY(${first * ROW}px)`;
    const lines = [];
    for (let place = first; place < last; place++) {
      const index = this.order[place];
      const line = document.createElement("div");
      line.className = "wb-line";
      line.id = `${this.id}-${index}`;
      line.dataset.row = index;
      line.setAttribute("role", "row");
      line.setAttribute("aria-rowindex", place + 2);
      line.setAttribute("aria-selected", String(index === chosen));
      if (this.markable) line.append(this.checkbox(marked.has(index)));
      this.rows[index].forEach((value, at) => {
        const { kind, tones } = this.columns[at];
        const tone = tones?.[value] ? ` wb-tone-${tones[value]}` : "";
        const node = cell("", "gridcell", (kind === "number" ? "wb-number" : "") + tone);
        fill(node, formatted(value, kind), kind);
        if (kind !== "number" && value) node.title = String(value);
        line.append(node);
      });
      lines.push(line);
    }
    this.window.replaceChildren(...lines);
    const active = lines.some(line => Number(line.dataset.row) === chosen);
    if (active) this.body.setAttribute("aria-activedescendant", `${this.id}-${chosen}`);
    else this.body.removeAttribute("aria-activedescendant");
  }

  checkbox(checked) {
    const node = cell("", "gridcell", "wb-check");
    const box = cell(checked ? "☑" : "☐", "checkbox");
    box.setAttribute("aria-checked", String(checked));
    box.setAttribute("aria-label", "mark");
    node.append(box);
    return node;
  }

  select(index) {
    this.model.set("selected", index);
    this.model.save_changes();
  }

  mark(index) {
    const marked = this.model.get("marked");
    const without = marked.filter(other => other !== index);
    this.model.set("marked", without.length < marked.length ? without : [...marked, index].sort((a, b) => a - b));
    this.model.save_changes();
  }

  reveal() {
    const place = this.order.indexOf(this.model.get("selected"));
    if (place < 0 || !this.viewport) return;
    const top = place * ROW;
    if (top < this.body.scrollTop) this.body.scrollTop = top;
    const bottom = top + ROW - this.viewport;
    if (bottom > this.body.scrollTop) this.body.scrollTop = bottom;
  }

  /** The next row in sight that stands out as bad, or the one before; after the last one comes the first. */
  toBad(step) {
    const bad = index => this.rows[index].some((value, at) => this.columns[at].tones?.[value] === "bad");
    const places = this.order.flatMap((index, place) => (bad(index) ? [place] : []));
    const found = nextOf(places, this.order.indexOf(this.model.get("selected")), step);
    if (found !== undefined) this.select(this.order[found]);
  }

  onKey(event) {
    const step = failingStep(event);
    if (step) {
      event.preventDefault();
      event.stopPropagation();
      this.toBad(step);
      return;
    }
    const page = Math.max(1, Math.floor(this.viewport / ROW) - 1);
    const end = this.order.length - 1;
    const at = this.order.indexOf(this.model.get("selected"));
    if (event.key === "Escape" && at >= 0) {
      event.preventDefault();
      event.stopPropagation();
      this.select(-1);
      return;
    }
    if (event.key === " " && this.markable && at >= 0) {
      event.preventDefault();
      event.stopPropagation();
      this.mark(this.order[at]);
      return;
    }
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: end };
    if (!(event.key in moves)) return;
    event.preventDefault();
    event.stopPropagation(); // the notebook would move between cells
    if (end >= 0) this.select(this.order[Math.min(end, Math.max(0, moves[event.key]))]);
  }
}

function render({ model, el }) {
  const table = new Table(model, el);
  const follow = () => {
    table.reveal();
    table.draw();
  };
  const renew = () => table.renew();
  const receive = message => table.receive(message);
  model.on("change:version", renew);
  const draw = () => table.draw();
  model.on("change:selected", follow);
  model.on("change:marked", draw);
  model.on("msg:custom", receive);
  return () => {
    table.resized.disconnect();
    model.off("change:version", renew);
    model.off("change:selected", follow);
    model.off("change:marked", draw);
    model.off("msg:custom", receive);
  };
}

export default { render };
