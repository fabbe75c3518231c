// Parallel coordinates: a line a trial, on a canvas under axes that are elements; dragging on an axis filters.

const LEAST_PITCH = 96; // pixels between axes that stand
const LYING_PITCH = 68; // between axes that lie, on a narrow page
const MOST_AXES = 12;
const MOST_LYING = 9;
const HEAD = 46; // above standing axes
const DEPTH = 320;

// A leaf may be called "constructor", which every object inherits.
const ownValue = ({ choices }, leaf) => (choices && Object.hasOwn(choices, leaf) ? choices[leaf] : undefined);

class ChoiceLines {
  constructor(box) {
    Object.assign(this, { box, rows: [], axes: new Map(), picked: null, own: null, hovered: -1, leaves: [] });
    this.status = element("span", { class: "count", role: "status" });
    this.reset = element("button", { type: "button", text: "Clear" });
    this.more = element("select", { "aria-label": "Add an axis" });
    this.legend = element("div", { class: "brush-legend quiet" });
    this.layers = new LineLayers(this);
    this.frame = element("div", { class: "brush-axes" });
    this.stage = element("div", { class: "brush-stage" }, ...this.layers.canvases, this.frame);
    this.scroll = element("div", { class: "scroll" }, this.stage);
    const tools = element("div", { class: "tools" }, this.status, this.reset, this.more);
    box.replaceChildren(tools, this.legend, this.scroll);
    this.listen();
  }

  listen() {
    this.reset.addEventListener("click", () => this.clearAll());
    this.more.addEventListener("change", () => this.show([...this.shown().map(({ id }) => id), this.more.value]));
    this.layers.marks.addEventListener("pointermove", (event) => this.hover(event));
    this.layers.marks.addEventListener("pointerleave", () => this.unhover());
    this.layers.marks.addEventListener("click", (event) => this.chooseAt(event));
    bus.addEventListener("filter", () => this.filterChanged());
    bus.addEventListener("choose", () => this.drawMarks());
    bus.addEventListener("mode", () => this.drawAll());
    new ResizeObserver(() => {
      if (this.scroll.clientWidth !== this.room) requestAnimationFrame(() => this.layOut());
    }).observe(this.scroll);
  }

  // Data

  reload(leaves) {
    this.leaves = leaves;
    this.rows = [...entries.values()];
    this.ranks = lineRanks(this.rows);
    const kept = new Map([...this.axes.values()].map((axis) => [axis.id, axis.selected]));
    this.axes = new Map(this.allAxes().map((axis) => [axis.id, axis]));
    for (const [id, selected] of kept) if (this.axes.has(id)) this.axes.get(id).adopt(selected);
    this.scroll.hidden = !this.rows.length;
    if (!this.rows.length) return this.drawWords(null, false);
    this.layOut();
    // New trials may pass too, and a drag that was under way is over.
    if (this.passing() !== null) this.commit();
    return this;
  }

  allAxes() {
    const { rows } = this;
    const several = page.runs.length > 1;
    const run = ({ run: at }) => page.runs[at] ?? String(at);
    return [
      ...(several ? [new ChoiceAxis("run", "run", run, rows)] : []),
      ...this.leafNames().map((leaf) => new ChoiceAxis(`leaf:${leaf}`, leaf, (entry) => ownValue(entry, leaf), rows)),
      new ChoiceAxis("level", "level", ({ level }) => level, rows, { text: flopsText }),
      new ChoiceAxis("cost", "deployed FLOPs", ({ deployed }) => deployed.flops, rows, { text: flopsText, log: true, scale: true }),
      new ChoiceAxis("accuracy", "accuracy", ({ accuracy }) => accuracy ?? undefined, rows, {
        text: percentText, absent: "no score", scale: true,
      }),
    ];
  }

  // The most important first, the rest as they stand in the space.
  leafNames() {
    const found = new Set();
    for (const { choices } of this.rows) for (const leaf of Object.keys(choices ?? {})) found.add(leaf);
    const first = this.leaves.filter((leaf) => found.has(leaf));
    return [...new Set([...first, ...found])];
  }

  get lying() {
    return this.room < 620;
  }

  shown() {
    if (this.picked) return this.picked.map((id) => this.axes.get(id)).filter(Boolean);
    const room = this.lying ? MOST_LYING : Math.min(MOST_AXES, Math.floor(this.room / LEAST_PITCH));
    const all = [...this.axes.values()];
    const ends = all.filter(({ id, varied }) => id === "cost" || id === "accuracy" || (id === "level" && varied));
    const others = all.filter(({ id, varied }) => !["cost", "accuracy", "level"].includes(id) && varied);
    return [...others.slice(0, Math.max(0, room - ends.length)), ...ends];
  }

  show(ids) {
    this.picked = ids.filter(Boolean);
    for (const axis of this.axes.values()) if (!this.picked.includes(axis.id)) axis.clear();
    this.layOut();
    this.commit();
  }

  // Filter

  passing() {
    const brushed = [...this.axes.values()].filter((axis) => axis.brushed);
    if (!brushed.length) return null;
    return new Set(this.rows.filter((_, row) => brushed.every((axis) => axis.passes(row))).map(({ key }) => key));
  }

  commit() {
    const own = this.passing();
    if (own === null && this.own === null) return this.draw();
    const same = own !== null && this.own !== null && own.size === this.own.size && [...own].every((key) => this.own.has(key));
    if (same) return this.draw();
    this.own = own;
    setFilter(own);
  }

  clearAll() {
    for (const axis of this.axes.values()) axis.clear();
    this.own = null;
    setFilter(null);
  }

  // What another part of the page filters by takes the place of what was kept here.
  filterChanged() {
    if (state.filter !== this.own) {
      for (const axis of this.axes.values()) axis.clear();
      this.own = null;
    }
    this.draw();
  }

  // Places

  layOut() {
    this.room = this.scroll.clientWidth;
    if (!this.room) return;
    this.list = this.shown();
    const { lying } = this;
    for (const axis of this.list) axis.fit(lying);
    const count = this.list.length;
    this.pitch = lying ? LYING_PITCH : Math.max(LEAST_PITCH, this.room / count);
    this.width = lying ? this.room : Math.max(this.room, Math.floor(this.pitch * count));
    this.height = lying ? LYING_PITCH * count : HEAD + DEPTH + 12;
    this.stage.style.width = `${this.width}px`;
    this.stage.style.height = `${this.height}px`;
    this.stage.classList.toggle("lying", lying);
    this.layers.resize();
    this.buildAxes();
    this.drawMore();
    this.drawLegend();
    this.drawAll();
  }

  // Where the axis stands, and a place on it, in pixels.
  across(index) {
    return this.lying ? index * LYING_PITCH + 30 : index * this.pitch + 14;
  }

  along(place) {
    return this.lying ? 8 + place * (this.width - 16) : HEAD + (1 - place) * DEPTH;
  }

  placeAt(event) {
    const { left, top } = this.stage.getBoundingClientRect();
    const place = this.lying ? (event.clientX - left - 8) / (this.width - 16) : 1 - (event.clientY - top - HEAD) / DEPTH;
    return Math.min(1, Math.max(0, place));
  }

  // Axes

  buildAxes() {
    const at = document.activeElement?.closest?.("[data-axis]")?.dataset.axis;
    this.parts = this.list.map((axis, index) => new AxisPart(this, axis, index));
    this.frame.replaceChildren(...this.parts.map(({ node }) => node));
    if (at !== undefined) this.parts.find(({ axis }) => axis.id === at)?.track.focus();
  }

  drawMore() {
    const shown = new Set(this.list.map(({ id }) => id));
    const rest = [...this.axes.values()].filter(({ id }) => !shown.has(id));
    const options = rest.map(({ id, title, varied }) => element("option", { value: id, text: varied ? title : `${title} (one value)` }));
    this.more.replaceChildren(element("option", { value: "", text: `add an axis (${rest.length})` }), ...options);
    this.more.hidden = !rest.length;
  }

  drawLegend() {
    const there = new Set(this.ranks);
    const items = LINE_LOOKS.flatMap((look, index) => (there.has(index) ? [this.legendItem(look)] : []));
    this.legend.replaceChildren(...items.reverse());
  }

  legendItem({ name, colour, width, dash }) {
    const line = element("i", { "aria-hidden": "true" });
    line.style.borderTop = `${Math.max(1.5, width * 1.5)}px ${dash.length ? "dashed" : "solid"} var(${colour})`;
    return element("span", {}, line, name);
  }

  // Drawing

  drawSoon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw(true);
    });
  }

  drawAll() {
    if (!this.list) return;
    this.layers.drawFaint();
    this.draw();
  }

  // While a drag goes on, `live`, the page's filter is not yet what is kept here.
  draw(live = false) {
    if (!this.list) return;
    const kept = live ? this.passing() : state.filter;
    this.layers.drawLines(kept);
    this.drawMarks();
    for (const part of this.parts) part.draw();
    this.drawWords(kept, live);
  }

  drawWords(kept, live) {
    const all = this.rows.length;
    const found = kept === null ? all : this.rows.reduce((count, { key }) => count + kept.has(key), 0);
    const elsewhere = kept !== null && !live && this.own === null ? ", filtered elsewhere on this page" : "";
    const none = all === 0 ? "No trial has ended yet." : `${exactText(all)} ${all === 1 ? "trial" : "trials"}`;
    this.status.textContent = kept === null ? none : `${exactText(found)} of ${exactText(all)} trials${elsewhere}`;
    this.reset.disabled = kept === null;
    this.more.hidden ||= all === 0;
    this.reset.hidden = all === 0;
  }

  drawMarks() {
    if (this.list) this.layers.drawMarks();
  }

  // Pointing

  hover(event) {
    const row = this.layers.rowAt(event);
    this.layers.marks.style.cursor = row >= 0 ? "pointer" : "";
    if (row >= 0) showTooltip(this.rows[row], event);
    else hideTooltip();
    if (row === this.hovered) return;
    this.hovered = row;
    this.drawMarks();
  }

  unhover() {
    this.hovered = -1;
    hideTooltip();
    this.drawMarks();
  }

  chooseAt(event) {
    const row = this.layers.rowAt(event);
    if (row >= 0) choose(this.rows[row].key);
  }
}

const choiceLines = new Map(); // by the box that they are drawn in

WIDGETS.choices = (box, panel) => {
  if (!choiceLines.has(box)) choiceLines.set(box, new ChoiceLines(box));
  choiceLines.get(box).reload(panel.leaves ?? []);
};
