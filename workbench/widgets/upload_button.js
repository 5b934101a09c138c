// Sends a file to the kernel in pieces, one after the other: the next leaves when the last was acknowledged.

function render({ model, el }) {
  el.classList.add("wb-view", "wb-upload");
  const input = document.createElement("input");
  input.type = "file";
  input.accept = model.get("accept");
  input.className = "wb-hidden";
  input.tabIndex = -1;
  input.setAttribute("aria-hidden", "true");
  const choose = document.createElement("button");
  choose.type = "button";
  choose.textContent = "Choose a file…";
  const hint = document.createElement("span");
  hint.className = "wb-hint";
  hint.setAttribute("role", "status");
  hint.textContent = model.get("hint");
  const stop = document.createElement("button");
  stop.type = "button";
  stop.textContent = "Cancel";
  stop.hidden = true;
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.hidden = true;
  bar.setAttribute("aria-label", "Upload");
  el.append(choose, hint, stop, bar, input);

  let file = null;
  const begin = chosen => {
    if (!chosen || file) return;
    file = chosen;
    choose.disabled = true;
    stop.hidden = bar.hidden = false;
    bar.value = 0;
    hint.textContent = `Sending ${file.name}`;
    model.send({ type: "begin", name: file.name, size: file.size });
  };
  const end = text => {
    file = null;
    choose.disabled = false;
    stop.hidden = bar.hidden = true;
    input.value = "";
    hint.textContent = text;
  };
  const receive = async message => {
    if (!file) return;
    if (message.type === "end") {
      end(message.text);
    } else if (message.type === "want") {
      const current = file;
      bar.value = message.offset / file.size;
      const piece = await file.slice(message.offset, message.offset + message.bytes).arrayBuffer();
      if (file === current) model.send({ type: "piece", offset: message.offset }, undefined, [piece]);
    }
  };

  choose.addEventListener("click", () => input.click());
  input.addEventListener("change", () => begin(input.files[0]));
  stop.addEventListener("click", () => {
    model.send({ type: "cancel" });
    end("Upload cancelled");
  });
  el.addEventListener("dragover", event => {
    event.preventDefault();
    event.stopPropagation();
    el.classList.add("wb-over");
  });
  el.addEventListener("dragleave", () => el.classList.remove("wb-over"));
  el.addEventListener("drop", event => {
    event.preventDefault();
    event.stopPropagation();
    el.classList.remove("wb-over");
    begin(event.dataTransfer.files[0]);
  });
  model.on("msg:custom", receive);
  return () => model.off("msg:custom", receive);
}

export default { render };
