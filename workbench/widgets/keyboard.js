// In a notebook that is in command mode a letter is a command: X cuts the cell. Not while the focus is in our widgets:
// there it opens a list at that letter, or collapses a group. Combinations with Ctrl, Alt or Cmd stay the notebook's.

const OURS = ".wb-workbench, .wb-stack, .wb-view";

function keepKeys(event) {
  if (!event.target.closest?.(OURS)) return;
  const theirs = event.ctrlKey || event.metaKey || event.altKey || event.key === "Escape" || (event.shiftKey && event.key === "Enter");
  // Lumino, which has JupyterLab's keys, looks for this on its way up from the target.
  event.target.toggleAttribute("data-lm-suppress-shortcuts", !theirs);
}

// Before the document's own listener; one for the page, however many views there are.
if (!window.workbenchKeepsKeys) {
  window.workbenchKeepsKeys = true;
  window.addEventListener("keydown", keepKeys, true);
}

/** N asks for the next one that fails (1), P for the previous one (-1), other keys for none (0). */
function failingStep(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return 0;
  return { n: 1, p: -1 }[event.key.toLowerCase()] ?? 0;
}

/** Of ascending places the next one after `at`, or the one before; after the last comes the first. */
function nextOf(places, at, step) {
  if (step > 0) return places.find(place => place > at) ?? places[0];
  return places.findLast(place => place < at) ?? places.at(-1);
}
