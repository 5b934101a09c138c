// Sends a file to the kernel in pieces, in order. A few are under way at a time: the rest waits in the file until the
// kernel has asked for it, so that neither side ever holds much of it.

const AHEAD = 3; // pieces

function timeLeft(began, share) {
  const passed = (performance.now() - began) / 1000;
  if (passed < 2 || share <= 0) return "";
  const left = (passed * (1 - share)) / share;
  return left < 90 ? `, about ${Math.ceil(left)} s left` : `, about ${Math.round(left / 60)} min left`;
}

const megabytes = bytes => Math.round(bytes / 1e6).toLocaleString("en-US");

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
  const rate = document.createElement("span");
  rate.className = "wb-rate";
  el.append(choose, hint, rate, stop, bar, input);

  let file = null;
  let began = 0;
  let sending = null; // the file whose pieces are being read
  let [sent, asked] = [0, 0];
  const begin = chosen => {
    if (!chosen || file) return;
    file = chosen;
    choose.disabled = true;
    stop.hidden = bar.hidden = false;
    bar.value = 0;
    began = performance.now();
    [sent, asked] = [0, 0];
    hint.textContent = `Sending ${file.name}`;
    model.send({ type: "begin", name: file.name, size: file.size });
  };
  const end = text => {
    file = null;
    choose.disabled = false;
    stop.hidden = bar.hidden = true;
    input.value = "";
    hint.textContent = text;
    rate.textContent = "";
  };
  const show = () => {
    const share = asked / file.size;
    bar.value = share;
    rate.textContent = `${megabytes(asked)} of ${megabytes(file.size)} MB${timeLeft(began, share)}`;
  };
  const send = async bytes => {
    if (sending === file) return;
    const current = (sending = file);
    try {
      while (file === current && sent < Math.min(file.size, asked + AHEAD * bytes)) {
        const offset = sent;
        const piece = await current.slice(offset, offset + bytes).arrayBuffer();
        if (file !== current) break;
        sent = offset + piece.byteLength;
        model.send({ type: "piece", offset }, undefined, [piece]);
      }
    } catch (error) {
      model.send({ type: "cancel" });
      if (file === current) end(`${current.name} cannot be read (${error.message}); choose it again.`);
    } finally {
      if (sending === current) sending = null;
    }
  };
  const receive = message => {
    if (!file) return;
    if (message.type === "end") {
      end(message.text);
    } else if (message.type === "want") {
      asked = message.offset;
      show();
      send(message.bytes);
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
