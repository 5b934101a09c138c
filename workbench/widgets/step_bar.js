// The five steps as a tab list: arrows, Home and End move, Enter or Space chooses.

const MARKS = { done: "✓", failed: "!" };
const SPOKEN = { done: ", done", failed: ", failed" };

function render({ model, el }) {
  el.classList.add("wb-view", "wb-steps");
  el.setAttribute("role", "tablist");
  el.setAttribute("aria-label", "Steps");

  const choose = name => {
    model.set("current", name);
    model.save_changes();
  };

  function draw() {
    const focused = el.contains(document.activeElement) ? document.activeElement.dataset.step : null;
    const current = model.get("current");
    const buttons = model.get("steps").map(([name, title, state], index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.step = name;
      button.dataset.state = state;
      button.setAttribute("role", "tab");
      button.setAttribute("aria-selected", String(name === current));
      button.setAttribute("aria-disabled", String(state === "locked"));
      button.setAttribute("aria-label", title + (SPOKEN[state] ?? ""));
      button.tabIndex = name === current ? 0 : -1;
      const mark = document.createElement("span");
      mark.className = "wb-mark";
      mark.textContent = MARKS[state] ?? String(index + 1);
      const label = document.createElement("span");
      label.textContent = title;
      button.append(mark, label);
      button.addEventListener("click", () => state !== "locked" && choose(name));
      return button;
    });
    el.replaceChildren(...buttons);
    requestAnimationFrame(describePanels);
    if (focused) el.querySelector(`[data-step="${CSS.escape(focused)}"]`)?.focus();
  }

  /** What a tab shows is told to be its panel; the parts are drawn by others, maybe later than this bar. */
  function describePanels() {
    for (const button of el.children) {
      const panel = el.closest(".wb-workbench")?.querySelector(`.wb-step-${CSS.escape(button.dataset.step)}`);
      if (!panel) continue;
      panel.id ||= `wb-panel-${Math.random().toString(36).slice(2)}`;
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-label", button.lastChild.textContent);
      button.setAttribute("aria-controls", panel.id);
    }
  }

  function onKey(event) {
    const open = [...el.querySelectorAll('button[aria-disabled="false"]')];
    const at = open.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: open.length - 1 }[event.key];
    if (to === undefined || !open.length) return;
    event.preventDefault();
    event.stopPropagation();
    open[(to + open.length) % open.length].focus();
  }

  el.addEventListener("keydown", onKey);
  model.on("change:steps change:current", draw);
  draw();
  return () => model.off("change:steps change:current", draw);
}

export default { render };
