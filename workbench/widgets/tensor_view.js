// Two tensors side by side, from counts made in the kernel: distributions, density, difference. No raw values come here.

const W = 320;
const H = 210;
const M = { left: 60, right: 12, top: 10, bottom: 38 };

const short = value => {
  const size = Math.abs(value);
  return size === 0 ? "0" : size >= 0.01 && size < 1e4 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
};

function frame(label, low, high, across) {
  const nodes = [
    svg("path", { d: `M${M.left} ${M.top}V${H - M.bottom}H${W - M.right}`, class: "wb-axis" }),
    svg("text", { x: M.left, y: H - M.bottom + 16 }, short(low)),
    svg("text", { x: W - M.right, y: H - M.bottom + 16, "text-anchor": "end" }, short(high)),
    svg("text", { x: (M.left + W - M.right) / 2, y: H - 5, "text-anchor": "middle" }, across),
  ];
  const place = `translate(12 ${(M.top + H - M.bottom) / 2}) rotate(-90)`;
  return [...nodes, svg("text", { transform: place, "text-anchor": "middle" }, label)];
}

function figure(title, note, spoken, nodes, keys = []) {
  const node = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = title;
  if (note) {
    const span = document.createElement("span");
    span.textContent = ` ${note}`;
    caption.append(span);
  }
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title}. ${spoken}` });
  picture.append(...nodes);
  node.append(caption, picture);
  if (keys.length) {
    const legend = document.createElement("div");
    legend.className = "wb-keys";
    for (const [text, colour, dash] of keys) {
      const key = document.createElement("span");
      key.textContent = text;
      key.style.setProperty("--wb-key", `var(${colour})`);
      if (dash) key.style.setProperty("--wb-dash", "dashed");
      legend.append(key);
    }
    node.append(legend);
  }
  return node;
}

/** Counts as a staircase on a logarithmic scale, so that rare values are seen beside common ones. */
function stairs(counts, most, closed) {
  const width = (W - M.left - M.right) / counts.length;
  const floor = H - M.bottom;
  const y = count => floor - ((floor - M.top) * Math.log1p(count)) / Math.log1p(most);
  let path = `M${M.left} ${floor}`;
  counts.forEach((count, index) => {
    path += `V${y(count).toFixed(1)}H${(M.left + width * (index + 1)).toFixed(1)}`;
  });
  return `${path}V${floor}${closed ? "Z" : ""}`;
}

function distributions({ low, high, reference, target }) {
  const most = Math.max(1, ...reference, ...target);
  const nodes = [
    ...frame("values (log)", low, high, "value"),
    svg("text", { x: M.left - 4, y: M.top + 10, "text-anchor": "end" }, short(most)),
    svg("path", { d: stairs(reference, most, true), class: "wb-reference" }),
    svg("path", { d: stairs(target, most, false), class: "wb-target" }),
  ];
  const spoken = `Values from ${short(low)} to ${short(high)}.`;
  return figure("Distributions", "", spoken, nodes, [["reference", "--wb-brand"], ["converted", "--wb-second", true]]);
}

function grid(values, rows, columns, place, className) {
  let most = 0;
  for (const value of values) most = Math.max(most, value);
  const cells = [];
  const levels = new Map(); // one path for each of 12 shades, however many cells there are
  const width = place.width / columns;
  const height = place.height / rows;
  values.forEach((value, index) => {
    if (!(value > 0)) return;
    const level = Math.max(1, Math.ceil(place.shade(value, most) * 12));
    const x = place.x + (index % columns) * width;
    const y = place.y + Math.floor(index / columns) * height;
    const cell = `M${x.toFixed(2)} ${y.toFixed(2)}h${width.toFixed(2)}v${height.toFixed(2)}h${(-width).toFixed(2)}z`;
    levels.set(level, (levels.get(level) ?? "") + cell);
  });
  for (const [level, d] of levels) cells.push(svg("path", { d, class: className, "fill-opacity": level / 12 }));
  return cells;
}

function density({ low, high, size, counts }) {
  const side = H - M.top - M.bottom;
  const left = M.left + (W - M.left - M.right - side) / 2;
  const shade = (value, most) => Math.log1p(value) / Math.log1p(most);
  const nodes = [
    svg("rect", { x: left, y: M.top, width: side, height: side, class: "wb-axis" }),
    svg("line", { x1: left, y1: M.top + side, x2: left + side, y2: M.top, class: "wb-diagonal" }),
    ...grid(counts, size, size, { x: left, y: M.top, width: side, height: side, shade }, "wb-cell"),
    svg("text", { x: left, y: H - M.bottom + 16 }, short(low)),
    svg("text", { x: left + side, y: H - M.bottom + 16, "text-anchor": "end" }, short(high)),
    svg("text", { x: left + side / 2, y: H - 5, "text-anchor": "middle" }, "reference"),
    svg("text", { transform: `translate(${left - 8} ${M.top + side / 2}) rotate(-90)`, "text-anchor": "middle" }, "converted"),
  ];
  return figure("Reference against converted", "", "Values on the diagonal are equal.", nodes);
}

function difference({ low, high, counts, note }) {
  const most = Math.max(1, ...counts);
  const nodes = [
    ...frame("values (log)", low, high, "converted − reference"),
    svg("text", { x: M.left - 4, y: M.top + 10, "text-anchor": "end" }, short(most)),
    svg("path", { d: stairs(counts, most, true), class: "wb-difference" }),
  ];
  return figure("Difference", note, `From ${short(low)} to ${short(high)}.`, nodes);
}

function heatmap({ rows, columns, values, most, note }) {
  const [width, height] = [W - 2 * M.right, H - M.top - M.bottom];
  const unit = Math.min(width / columns, height / rows);
  const across = Math.max(unit * columns, 28); // a vector is drawn as a band
  const down = Math.max(unit * rows, 28);
  const place = {
    x: (W - across) / 2,
    y: M.top + (height - down) / 2,
    width: across,
    height: down,
    shade: (value, top) => value / top,
  };
  const nodes = [
    svg("rect", { x: place.x, y: place.y, width: place.width, height: place.height, class: "wb-axis" }),
    ...grid(values, rows, columns, place, "wb-hot"),
    svg("text", { x: W / 2, y: H - 10, "text-anchor": "middle" }, `strongest: ${short(most)}`),
  ];
  return figure("Where it differs", note, `Largest difference ${short(most)}.`, nodes);
}

/** A box from quartile to quartile, its median, and whiskers to the extremes, for each channel. */
function channels({ indices, quartiles, note }) {
  const low = Math.min(0, ...quartiles.map(box => box[0]));
  const high = Math.max(0, ...quartiles.map(box => box[4]));
  const floor = H - M.bottom;
  const y = value => floor - ((floor - M.top) * (value - low)) / (high - low || 1);
  const width = (W - M.left - M.right) / indices.length;
  const half = Math.min(8, width * 0.35);
  const nodes = [
    svg("path", { d: `M${M.left} ${M.top}V${floor}H${W - M.right}`, class: "wb-axis" }),
    svg("line", { x1: M.left, x2: W - M.right, y1: y(0), y2: y(0), class: "wb-diagonal" }),
    svg("text", { x: M.left - 4, y: M.top + 10, "text-anchor": "end" }, short(high)),
    svg("text", { x: M.left - 4, y: floor, "text-anchor": "end" }, short(low)),
    svg("text", { x: (M.left + W - M.right) / 2, y: H - 5, "text-anchor": "middle" }, "channel"),
    svg("text", { x: M.left + width / 2, y: floor + 16, "text-anchor": "middle" }, String(indices[0])),
    svg("text", { x: W - M.right - width / 2, y: floor + 16, "text-anchor": "middle" }, String(indices.at(-1))),
  ];
  quartiles.forEach((box, at) => {
    const x = M.left + width * (at + 0.5);
    const [least, lower, median, upper, most] = box.map(y);
    const whiskers = `M${x} ${least}V${lower}M${x} ${upper}V${most}M${x - half} ${median}h${2 * half}`;
    nodes.push(svg("rect", { x: x - half, y: upper, width: 2 * half, height: Math.max(0.5, lower - upper), class: "wb-difference" }));
    nodes.push(svg("path", { d: whiskers, class: "wb-whisker" }));
  });
  const spoken = `${indices.length} channels, differences from ${short(low)} to ${short(high)}.`;
  return figure("Difference by channel", note, spoken, nodes);
}

const FIGURES = { distributions, density, difference, channels, heatmap };

function render({ model, el }) {
  el.classList.add("wb-view", "wb-tensors");
  const draw = () => {
    const data = model.get("figures");
    el.replaceChildren(...Object.keys(FIGURES).filter(name => data[name]).map(name => FIGURES[name](data[name])));
  };
  model.on("change:figures", draw);
  draw();
  return () => model.off("change:figures", draw);
}

export default { render };
