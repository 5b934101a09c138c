// ipywidgets tells by colour alone which of its toggle buttons is pressed. Those who do not see it are told too: whether it
// is pressed, whether what it discloses is shown, and what a row of them is about.

const TOGGLES = ".wb-stack .widget-toggle-button, .wb-stack .widget-toggle-buttons button";

function tell(button) {
  const pressed = String(button.classList.contains("mod-active"));
  button.setAttribute(button.classList.contains("wb-disclosure") ? "aria-expanded" : "aria-pressed", pressed);
  const group = button.closest(".widget-toggle-buttons");
  if (!group) return;
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", group.querySelector("label")?.textContent ?? "");
}

function tellAll(records) {
  for (const { target, addedNodes } of records) {
    if (target.matches(TOGGLES)) tell(target);
    for (const node of addedNodes) node.querySelectorAll?.(TOGGLES).forEach(tell);
  }
}

// One for the page, however many views there are.
if (!window.workbenchTellsToggles) {
  window.workbenchTellsToggles = new MutationObserver(tellAll);
  window.workbenchTellsToggles.observe(document.body, { subtree: true, childList: true, attributeFilter: ["class"] });
  document.querySelectorAll(TOGGLES).forEach(tell);
}
