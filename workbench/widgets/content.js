// Renders blocks of text. Everything reaches the page through textContent: a model's names are never markup.

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function list(items, className) {
  const node = element("ul", className);
  for (const item of items) {
    const [text, tone] = Array.isArray(item) ? item : [item, ""];
    node.append(element("li", tone ? `wb-${tone}` : "", text));
  }
  return node;
}

const BLOCKS = {
  heading: block => element("h3", "", block.text),
  text: block => element("p", block.tone ? `wb-${block.tone}` : "", block.text),
  badges: block => list(block.items, "wb-badges"),

  facts(block) {
    const node = element("dl");
    for (const [label, value] of block.rows) node.append(element("dt", "", label), element("dd", "", value));
    return node;
  },

  alert(block) {
    const node = element("div", `wb-alert wb-${block.tone}`);
    node.setAttribute("role", block.tone === "bad" ? "alert" : "status");
    node.append(element("strong", "", block.title));
    if (block.text) node.append(element("p", "", block.text));
    if (block.items.length) node.append(list(block.items));
    if (block.detail) {
      const details = element("details");
      details.append(element("summary", "", "Details"), element("pre", "", block.detail));
      node.append(details);
    }
    return node;
  },

  code(block) {
    const node = element("div", "wb-code");
    const pre = element("pre", "", block.text);
    pre.tabIndex = 0;
    pre.setAttribute("role", "region");
    pre.setAttribute("aria-label", "Python code");
    const copy = element("button", "", "Copy");
    copy.type = "button";
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.text);
      copy.textContent = "Copied";
    });
    if (navigator.clipboard) node.append(copy);
    node.append(pre);
    return node;
  },

  progress(block) {
    const node = element("div");
    const bar = element("progress");
    bar.setAttribute("aria-label", block.step);
    bar.max = 1;
    if (block.fraction > 0) bar.value = block.fraction;
    node.append(element("p", "", block.text), bar);
    return node;
  },

  table(block) {
    const node = element("table");
    node.append(element("caption", "", block.caption));
    const head = element("tr");
    for (const title of block.columns) {
      const cell = element(title ? "th" : "td", "", title);
      if (title) cell.scope = "col";
      head.append(cell);
    }
    node.append(head);
    for (const row of block.rows) {
      const line = element("tr");
      row.forEach((value, at) => {
        const names = at === 0 && !block.columns[0]; // a column without a title says what its row is
        const cell = element(names ? "th" : "td", "", value);
        if (names) cell.scope = "row";
        line.append(cell);
      });
      node.append(line);
    }
    const box = element("div", "wb-tablebox");
    box.append(node);
    return box;
  },
};

function render({ model, el }) {
  el.classList.add("wb-view", "wb-content");
  if (model.get("live")) el.setAttribute("aria-live", "polite");
  const draw = () => el.replaceChildren(...model.get("blocks").map(block => BLOCKS[block.kind](block)));
  model.on("change:blocks", draw);
  draw();
  return () => model.off("change:blocks", draw);
}

export default { render };
