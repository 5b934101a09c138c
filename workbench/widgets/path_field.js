// A path with suggestions. What was typed travels with Enter and with leaving the field: updates of a trait wait for the
// kernel's answer to the ones before, and a message sent meanwhile would overtake the last letters.

function render({ model, el }) {
  el.classList.add("wb-view", "wb-path");
  const id = `wb-${Math.random().toString(36).slice(2)}`;
  const label = document.createElement("label");
  label.textContent = model.get("description");
  label.htmlFor = id;
  const input = document.createElement("input");
  input.type = "text";
  input.id = id;
  input.spellcheck = false;
  input.autocomplete = "off";
  input.placeholder = model.get("placeholder");
  const known = document.createElement("datalist");
  known.id = `${id}-known`;
  input.setAttribute("list", known.id);
  el.append(label, input, known);

  const suggest = () =>
    known.replaceChildren(
      ...model.get("options").map(path => {
        const option = document.createElement("option");
        option.value = path;
        return option;
      })
    );
  const show = () => {
    if (document.activeElement !== input) input.value = model.get("value");
  };
  input.addEventListener("input", () => {
    model.set("value", input.value);
    model.save_changes();
  });
  input.addEventListener("change", () => model.send({ event: "change", value: input.value }));
  input.addEventListener("keydown", event => {
    if (event.key === "Enter" && !event.isComposing) model.send({ event: "submit", value: input.value });
  });
  model.on("change:options", suggest);
  model.on("change:value", show);
  suggest();
  show();
  return () => {
    model.off("change:options", suggest);
    model.off("change:value", show);
  };
}

export default { render };
