// The network card: choosing a trial opens it in a drawer at the side of the page.

const TRAININGS_DRAWN = 8;

const drawer = { dialog: null, body: null, close: null, shown: null, opener: null };

const multiplierText = (value) => (value === null ? "" : value.toFixed(2));
const trainingsText = (count) => `${count} ${count === 1 ? "training" : "trainings"}`;

function cardPart(heading, ...children) {
  return element("section", {}, element("h3", { text: heading }), ...children);
}

function tableOf(attributes, heads, rows) {
  const cellOf = (tag) => (value) => (value instanceof Node ? element(tag, {}, value) : element(tag, { text: value }));
  const body = rows.map((row) => element("tr", {}, ...row.map(cellOf("td"))));
  return element("table", attributes, element("thead", {}, element("tr", {}, ...heads.map(cellOf("th")))), element("tbody", {}, ...body));
}

const scrolled = (label, node) => element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, node);

// How good it is

function outcomeWords(entry) {
  const belongs = `It is ${entry.belonging}.`;
  if (entry.status === "failed") return [["big", "Failed"], ["reason", entry.reason ?? "no reason recorded"]];
  if (entry.status !== "complete") {
    return [["big", "No accuracy"], ["reason", entry.reason ?? `The training was ${entry.status}; it is never scored.`]];
  }
  const { finalist } = entry;
  const longest = entry.trainings.filter((one) => one.role === "search" && one.accuracy === entry.accuracy).at(-1);
  const length = longest ? ` after ${exactText(longest.images)} images` : "";
  const once = entry.accuracy === null ? "without an accuracy" : percentText(entry.accuracy);
  if (!finalist) {
    const spread = `Validation accuracy of one training${length}; the spread between its seeds is not known.`;
    return [["big", once], ["", spread], ["quiet", belongs]];
  }
  const interval = `${percentText(finalist.low)} to ${percentText(finalist.high)} (95 %), n = ${trainingsText(finalist.seeds)}`;
  const search = `On validation images by which nothing was chosen. In the search: ${once}${length}.`;
  return [["big", percentText(finalist.accuracy)], ["", interval], ["quiet", search], ["quiet", belongs]];
}

function outcomePart(entry) {
  const words = outcomeWords(entry).map(([kind, text]) => element("p", { class: kind || null, text }));
  if (entry.repeats !== null) {
    const text = `Its proxy is that of trial ${entry.repeats}, whose training stands for it.`;
    words.push(element("p", { class: "quiet", text }));
  }
  return cardPart("How good it is", ...words);
}

// What it is

function operatorLegend(entry) {
  const items = operatorsOf(entry).map((operator, index) => {
    const at = entry.stages.flatMap((stage, place) => (stage.operator === operator ? [place + 1] : []));
    return element("li", {}, operatorChip(index), element("span", { text: `${operator}, ${at.length > 1 ? "stages" : "stage"} ${at.join(", ")}` }));
  });
  return element("ul", { class: "legend" }, ...items);
}

function drawingPart(entry, room) {
  const words = "Height: side of the output (log). Width: repeats. Over a block its output's side in pixels, under it its channels and repeats.";
  const drawing = scrolled("Drawing of the network", networkDrawing(entry, room));
  return cardPart("Deployed network", drawing, operatorLegend(entry), element("p", { class: "quiet", text: words }));
}

const optionText = (value) => (value === undefined || value === null || value === 0 ? "" : String(value));

function stagesPart(entry) {
  const operators = operatorsOf(entry);
  const named = (chip, text) => element("span", {}, ...(chip ? [chip] : []), element("span", { text }));
  const cells = (part) => ["channels", "repeats", "kernel", "stride", "expand", "se"].map((name) => optionText(part[name]));
  const stem = ["stem", named(null, "conv"), ...cells({ ...entry.stem, repeats: 1 }), sidesText(entry.stem.size)];
  const stages = entry.stages.map((stage, index) => [
    String(index + 1), named(operatorChip(operators.indexOf(stage.operator)), stage.operator), ...cells(stage), sidesText(stage.size),
  ]);
  const head = entry.head.channels ? [["head", named(null, "conv"), ...cells({ channels: entry.head.channels, repeats: 1, kernel: 1, stride: 1 }), ""]] : [];
  const short = (text, title) => element("abbr", { title, text });
  const heads = [
    "", "operator", short("ch.", "channels"), short("×", "repeats"), short("k", "kernel"), short("s", "stride"),
    short("exp", "expansion"), short("se", "squeeze-and-excitation ratio"), short("out", "side of the output, in pixels"),
  ];
  return scrolled("Stages", tableOf({ class: "facts stagetable" }, heads, [stem, ...stages, ...head]));
}

// What it costs

function levelWords(entry) {
  const share = percentText(entry.share);
  if (entry.binding === "flops") return `${share} of its level, ${entry.levelText}`;
  return `${share} of the limit on ${entry.binding}, which binds; its level is ${entry.levelText}`;
}

function costPart(entry) {
  const both = [entry.deployed, entry.proxy];
  const row = (name, text) => [name, ...both.map(text)];
  const multiplier = (name, place) => row(name, (member) => multiplierText(member.realised[place]));
  const rows = [
    row("FLOPs", (member) => flopsText(member.flops)),
    row("params", (member) => countText(member.params)),
    row("activations", (member) => countText(member.activations)),
    row("input", (member) => resolutionText(member.resolution)),
    multiplier("depth ×", 0), multiplier("width ×", 1), multiplier("resolution ×", 2),
    row("φ", (member) => multiplierText(member.phi)),
    row("repair", (member) => member.repair.join(", ") || "none"),
  ];
  const [alpha, beta, gamma] = entry.coefficients.map(multiplierText);
  const unknown = entry.proxy.clamped ? " The proxy's resolution is at a bound, so γ is not identified." : "";
  const gauge = element("span", { class: "gauge" }, element("span", { style: `width:${Math.min(100, 100 * entry.share).toFixed(1)}%` }));
  return cardPart(
    "What it costs", gauge, element("p", { text: levelWords(entry) }),
    tableOf({ class: "facts costtable" }, ["", "deployed", "proxy"], rows),
    element("p", { class: "quiet", text: `Multipliers over its base network, after rounding and repair; drawn: α ${alpha}, β ${beta}, γ ${gamma}.${unknown}` }),
  );
}

// How it was trained

function trainingName(training) {
  return training.role === "final" ? `fresh seed, rung ${training.rung + 1}` : `search, rung ${training.rung + 1}`;
}

function trainingsPart(entry, room) {
  const { trainings } = entry;
  const chart = curveChart(trainings.slice(0, TRAININGS_DRAWN), room);
  const rows = trainings.map((training, index) => [
    element("span", {}, ...(index < TRAININGS_DRAWN && training.curve.length ? [curveLine(index)] : []), element("span", { text: trainingName(training) })),
    training.images ? exactText(training.images) : "",
    training.accuracy === null ? training.status : percentText(training.accuracy),
    training.loss === null ? "" : training.loss.toFixed(3),
    training.seconds ? secondsText(training.seconds) : "",
  ]);
  const heads = ["training", "images", "accuracy", "loss", "time"];
  const reasons = trainings.filter((one) => one.reason && one.reason !== entry.reason).map((one) => element("p", { class: "reason", text: `${trainingName(one)}: ${one.reason}` }));
  const more = trainings.length - TRAININGS_DRAWN;
  const left = more > 0 ? element("p", { class: "quiet", text: `${trainingsText(more)} more without a line.` }) : null;
  const caption = element("p", { class: "quiet", text: "Training loss of the proxy; accuracy and loss in the table are of the validation images that choices are made by." });
  return cardPart("How it was trained", chart ?? element("p", { class: "quiet", text: "No learning curve was recorded." }), scrolled("Trainings", tableOf({ class: "facts" }, heads, rows)), left, ...reasons, caption);
}

// What was drawn, and the document

function choicesPart(entry) {
  const pairs = Object.entries(entry.choices);
  const rows = pairs.map(([leaf, value]) => [leaf, typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value)]);
  const summary = element("summary", { text: `What was drawn: ${pairs.length} ${pairs.length === 1 ? "choice" : "choices"}` });
  return element("details", {}, summary, pairs.length ? tableOf({ class: "facts choicetable" }, ["leaf", "value"], rows) : null);
}

// The text is selected where no way of copying is allowed, so that one key is left to press.
async function copyText(text, box) {
  try {
    await navigator.clipboard.writeText(text);
    return "Copied.";
  } catch {
    const range = document.createRange();
    range.selectNodeContents(box);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    return document.execCommand("copy") ? "Copied." : "Selected: press Ctrl+C, or ⌘C, to copy it.";
  }
}

function yamlPart(entry) {
  const text = networkYaml(entry);
  const box = element("pre", { class: "yaml", tabindex: "0", text });
  const told = element("span", { class: "quiet", role: "status" });
  const button = element("button", { type: "button", text: "Copy" });
  button.addEventListener("click", async () => {
    told.textContent = await copyText(text, box);
  });
  const part = cardPart("Its document", box);
  part.firstChild.replaceWith(element("div", { class: "row" }, element("h3", { text: "Its document" }), told, button));
  return part;
}

// The drawer

function makeDrawer() {
  const close = element("button", { type: "button", class: "close", "aria-label": "Close the card", text: "✕" });
  const body = element("div", { class: "content" });
  const dialog = element("dialog", { id: "card", class: "drawer" }, close, body);
  document.body.append(dialog);
  close.addEventListener("click", () => choose(null));
  Object.assign(drawer, { dialog, body, close });
}

function cardHeading(entry) {
  const arm = entry.arm === "control" ? "random control" : entry.arm;
  const run = page.runs?.length > 1 ? [page.runs[entry.run]] : [];
  const best = [...run, `trial ${entry.number}`, arm].join(" · ");
  return element(
    "div", { class: "title" }, element("p", { class: "eyebrow", text: best }), element("h2", { text: entry.name }),
    element("p", { class: "quiet" }, element("span", { class: `status ${entry.status}`, text: entry.status }), element("span", { text: entry.pattern.replaceAll(" × ", "\u00a0×\u00a0") })),
  );
}

function fillCard(entry) {
  const room = drawer.body.clientWidth;
  const network = drawingPart(entry, room);
  network.append(stagesPart(entry));
  drawer.body.replaceChildren(
    cardHeading(entry), outcomePart(entry), network, costPart(entry), trainingsPart(entry, room), choicesPart(entry), yamlPart(entry),
  );
}

function openCard(entry) {
  if (!drawer.dialog) makeDrawer();
  const { dialog } = drawer;
  dialog.setAttribute("aria-label", `Trial ${entry.number}: ${entry.name}`);
  if (!dialog.open) {
    drawer.opener = document.activeElement;
    dialog.show();
    drawer.close.focus({ preventScroll: true });
  }
  // What the reader has scrolled to, opened or selected stays where nothing has changed.
  const shown = JSON.stringify(entry);
  if (shown === drawer.shown) return;
  drawer.shown = shown;
  fillCard(entry);
}

function closeCard() {
  if (!drawer.dialog?.open) return;
  const { dialog, opener } = drawer;
  const inside = dialog.contains(document.activeElement);
  dialog.close();
  drawer.shown = null;
  if (inside && opener?.isConnected) opener.focus({ preventScroll: true });
}

function showChosen() {
  const entry = state.chosen === null ? null : (entries.get(state.chosen) ?? null);
  if (entry) openCard(entry);
  else closeCard();
}

bus.addEventListener("choose", () => {
  hideTooltip();
  if (drawer.dialog) drawer.dialog.scrollTop = 0;
  showChosen();
});
bus.addEventListener("entries", showChosen);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.defaultPrevented && drawer.dialog?.open) choose(null);
});
