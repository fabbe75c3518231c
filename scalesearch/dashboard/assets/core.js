// What the parts of the page share: its data, its state, and how a panel is drawn. All files of this folder are
// joined in one function; this one comes first and start.js last.

const NARROW = 520; // pixels: below, a legend has a line for each entry
const FADED = { marker: { opacity: 0.07 } };

const state = { mode: "light", filter: null, chosen: null };
const bus = new EventTarget(); // "entries", "filter", "choose", "mode"
const entries = new Map();
const sections = new Map(); // by the panel's id: { section, box, view }
const WIDGETS = {}; // by kind: (box, panel) => draws a panel that is no figure
let page = { panels: [], runs: [] };

const announce = (name) => bus.dispatchEvent(new Event(name));

// Documents are made of nodes and texts alone, so that no name is ever read as markup.
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name === "class") node.className = value;
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function entryOf(customdata) {
  const key = String(Array.isArray(customdata) ? customdata[0] : customdata);
  return entries.get(key) ?? null;
}

function setFilter(keys) {
  state.filter = keys;
  announce("filter");
}

function choose(key) {
  state.chosen = key === null ? null : String(key);
  announce("choose");
}

// Drawing

// Plotly writes arrays of numbers as base64.
function plain(array) {
  if (!array || array.bdata === undefined) return array;
  const bytes = Uint8Array.from(atob(array.bdata), (char) => char.charCodeAt(0));
  const kinds = {
    f8: Float64Array, f4: Float32Array, i1: Int8Array, i2: Int16Array, i4: Int32Array,
    u1: Uint8Array, u2: Uint16Array, u4: Uint32Array,
  };
  return Array.from(new kinds[array.dtype](bytes.buffer));
}

const trialKeys = (trace) => plain(trace.customdata)?.map((one) => String(Array.isArray(one) ? one[0] : one));

// What the filter leaves out fades, in every trace whose points are trials.
function filtered(trace) {
  const keys = trialKeys(trace);
  if (!keys || state.filter === null) return trace;
  const kept = keys.flatMap((key, index) => (state.filter.has(key) ? [index] : []));
  return { ...trace, selectedpoints: kept, unselected: FADED };
}

function chosenRing(traces) {
  for (const trace of traces) {
    const index = trialKeys(trace)?.indexOf(state.chosen) ?? -1;
    if (index < 0 || !trace.x || !trace.y || (trace.type ?? "scatter") !== "scatter") continue;
    return [{
      type: "scatter", mode: "markers", uid: "chosen", x: [plain(trace.x)[index]], y: [plain(trace.y)[index]],
      xaxis: trace.xaxis, yaxis: trace.yaxis, hoverinfo: "skip", showlegend: false,
      marker: { symbol: "circle-open", size: 20, color: "#7D8794", line: { width: 3 } },
    }];
  }
  return [];
}

// A panel may leave trials out, for their number or for what they lack; the chosen one is then missed.
function absentText(traces) {
  const keys = traces.flatMap((trace) => trialKeys(trace) ?? []);
  const entry = entries.get(state.chosen);
  return entry && keys.some((key) => entries.has(key)) && !keys.includes(entry.key) ? `Trial ${entry.number} is not drawn here.` : "";
}

// Plotly keeps a reader's zoom only while the data ask for the same range; here it outlives new data. An axis that
// is set back follows the data again: Plotly gives it a range that data asked for at some time, maybe of another view.
// Returns whether one was.
function rememberZoom(part, changes) {
  const zoom = part.zooms.get(part.view) ?? {};
  const zoomedAxes = Object.keys(zoom).length;
  for (const [change, value] of Object.entries(changes)) {
    const [axis, what] = change.split(".");
    if (what?.startsWith("range[")) zoom[axis] = part.box._fullLayout[axis].range.slice();
    else if (what === "range") zoom[axis] = value;
    else if (what === "autorange") delete zoom[axis];
    if (part.asked.has(rangeName(axis, zoom[axis]))) delete zoom[axis];
  }
  part.zooms.set(part.view, zoom);
  return Object.keys(zoom).length < zoomedAxes;
}

const rangeName = (axis, range) => JSON.stringify([axis, range]);

function noteRanges(part, view) {
  for (const [axis, { range }] of Object.entries(view.figure.layout)) {
    if (range && axis.includes("axis")) part.asked.add(rangeName(axis, plain(range)));
  }
}

function zoomed(layout, zoom = {}) {
  const axes = Object.entries(zoom).map(([axis, range]) => [axis, { ...layout[axis], range, autorange: false }]);
  return { ...layout, ...Object.fromEntries(axes) };
}

function drawFigure(panel, part) {
  const view = panel.views.find((one) => one.name === part.view) ?? panel.views[0];
  const place = panel.views.indexOf(view);
  // By these names Plotly keeps what the legend hides, whatever comes and goes.
  const traces = view.figure.data.map((trace, index) => ({ uid: `trace-${place}-${index}`, ...filtered(trace) }));
  const ring = chosenRing(traces);
  const narrow = part.box.clientWidth < NARROW;
  // Plotly writes a reader's changes into what it is given.
  const layout = {
    ...zoomed(structuredClone(view.figure.layout), part.zooms.get(part.view)),
    template: page.templates[state.mode],
    width: part.box.clientWidth,
    height: view.figure.layout.height + (narrow ? 90 : 0),
    uirevision: `view:${view.name}`,
  };
  part.panel = panel;
  noteRanges(part, view);
  part.explain(view.caption);
  part.absent.textContent = absentText(traces);
  Plotly.react(part.box, [...traces, ...ring], layout, page.config);
  if (part.listening) return;
  part.listening = true;
  part.box.on("plotly_relayout", (changes) => {
    if (rememberZoom(part, changes)) requestAnimationFrame(() => drawPanel(part.panel));
  });
  part.box.on("plotly_hover", (event) => {
    const point = event.points.find((one) => one.customdata !== undefined);
    if (point) showTooltip(entryOf(point.customdata), event.event);
  });
  part.box.on("plotly_unhover", hideTooltip);
  part.box.on("plotly_click", (event) => {
    const entry = entryOf(event.points.find((one) => one.customdata !== undefined)?.customdata);
    if (entry) choose(entry.key);
  });
}

function drawSwitch(panel, part) {
  const buttons = panel.views.map((view) => {
    const pressed = String(view.name === part.view);
    const button = element("button", { type: "button", text: view.name, "aria-pressed": pressed });
    button.addEventListener("click", () => {
      part.view = view.name;
      drawPanel(panel);
    });
    return button;
  });
  part.views.replaceChildren(...(buttons.length > 1 ? buttons : []));
}

// Two lines of a caption, and the rest on request.
function makeCaption(id) {
  const caption = element("p", { class: "quiet short", id: `caption-${id}` });
  const more = element("button", { class: "more", type: "button", "aria-controls": caption.id });
  const show = (whole) => {
    caption.classList.toggle("short", !whole);
    more.textContent = whole ? "less" : "more";
    more.setAttribute("aria-expanded", String(whole));
  };
  more.addEventListener("click", () => show(caption.classList.contains("short")));
  show(false);
  const fits = () => {
    const shortened = caption.classList.contains("short");
    more.hidden = shortened && caption.scrollHeight <= caption.clientHeight + 1;
  };
  new ResizeObserver(fits).observe(caption);
  return { caption, more, fits };
}

function makePart(panel) {
  const heading = element("h2", { id: `heading-${panel.id}`, text: panel.title });
  const { caption, more, fits } = makeCaption(panel.id);
  const views = element("div", { class: "views", role: "group", "aria-label": `Views of: ${panel.title}` });
  const box = element("div", { id: panel.id, class: panel.kind });
  const labelled = { class: `card panel ${panel.width}`, "aria-labelledby": heading.id };
  const head = element("div", { class: "head" }, heading, views);
  const absent = element("p", { class: "quiet absent", role: "status" });
  const section = element("section", labelled, head, caption, more, absent, box);
  const explain = (text) => {
    caption.textContent = text;
    fits();
  };
  return { section, heading, explain, absent, views, box, view: panel.views[0]?.name, zooms: new Map(), asked: new Set(), listening: false };
}

function drawPanel(panel) {
  const part = sections.get(panel.id);
  part.heading.textContent = panel.title;
  if (panel.kind === "figure") {
    if (!panel.views.some((view) => view.name === part.view)) part.view = panel.views[0].name;
    drawSwitch(panel, part);
    drawFigure(panel, part);
  } else {
    part.explain(panel.caption);
    WIDGETS[panel.kind](part.box, panel);
  }
}

const redraw = () => page.panels.filter((panel) => panel.kind === "figure").forEach(drawPanel);

function drawContents() {
  const links = page.panels.map((panel) => element("a", { href: `#heading-${panel.id}`, text: panel.title }));
  document.getElementById("contents").replaceChildren(...(links.length > 3 ? links : []));
}

// Take in new data and draw what they change; zoom, views, filter and the open card stay.
function update(data) {
  const same = data.panels.map((panel) => panel.id).join() === page.panels.map((panel) => panel.id).join();
  page = data;
  entries.clear();
  for (const entry of data.entries) entries.set(entry.key, entry);
  if (!same) {
    sections.clear();
    for (const panel of page.panels) sections.set(panel.id, makePart(panel));
    document.getElementById("panels").replaceChildren(...[...sections.values()].map((part) => part.section));
    drawContents();
  }
  page.panels.forEach(drawPanel);
  announce("entries");
}

function setMode(mode) {
  state.mode = mode;
  document.documentElement.dataset.mode = mode;
  const button = document.getElementById("mode");
  button.textContent = mode === "dark" ? "Light" : "Dark";
  button.setAttribute("aria-label", `Switch to ${button.textContent.toLowerCase()} colours`);
  redraw();
  announce("mode");
}

bus.addEventListener("filter", redraw);
bus.addEventListener("choose", redraw);
