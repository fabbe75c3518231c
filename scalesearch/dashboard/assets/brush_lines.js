// The lines of parallel coordinates, on three canvases: all of them faintly, those that are kept, and marks.

const NEAR = 7; // pixels within which the pointer finds a line

// By the rank of a trial's accuracy on its level; width and order repeat what the colour says.
const LINE_LOOKS = [
  { name: "no score", colour: "--quiet", width: 1, dash: [4, 4] },
  { name: "lower half of its level", colour: "--quiet", width: 0.8, dash: [] },
  { name: "upper half of its level", colour: "--c0", width: 1.1, dash: [] },
  { name: "best tenth of its level", colour: "--c1", width: 1.5, dash: [], most: 0.45 },
];

// For each trial the index of its look.
function lineRanks(rows) {
  const levels = new Map();
  rows.forEach((entry, row) => {
    if (!isNumber(entry.accuracy)) return;
    const level = `${entry.run}:${entry.level}`;
    if (!levels.has(level)) levels.set(level, []);
    levels.get(level).push(row);
  });
  const ranks = new Uint8Array(rows.length);
  for (const members of levels.values()) {
    members.sort((a, b) => rows[a].accuracy - rows[b].accuracy);
    members.forEach((row, at) => {
      const share = (at + 1) / members.length;
      ranks[row] = share > 0.9 && members.length > 1 ? 3 : share > 0.5 ? 2 : 1;
    });
  }
  return ranks;
}

class LineLayers {
  // `view` says which rows and axes there are, and where an axis and a place on it stand.
  constructor(view) {
    this.view = view;
    [this.faint, this.lines, this.marks] = [0, 1, 2].map(() => element("canvas", { "aria-hidden": "true" }));
    this.canvases = [this.faint, this.lines, this.marks];
  }

  resize() {
    for (const canvas of this.canvases) this.size(canvas);
  }

  size(canvas) {
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(this.view.width * scale);
    canvas.height = Math.round(this.view.height * scale);
    canvas.style.width = `${this.view.width}px`;
    canvas.style.height = `${this.view.height}px`;
    canvas.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
  }

  drawFaint() {
    const { rows } = this.view;
    const alpha = Math.min(0.15, Math.max(0.02, 8 / rows.length ** 0.9));
    this.strokeAll(this.clean(this.faint), () => true, this.colour("--quiet"), 0.6, [], alpha);
  }

  drawLines(kept) {
    const context = this.clean(this.lines);
    this.faint.hidden = kept === null;
    const inside = this.view.rows.map(({ key }) => kept === null || kept.has(key));
    LINE_LOOKS.forEach(({ colour, width, dash, most = 1 }, rank) => {
      const wanted = (row) => inside[row] && this.view.ranks[row] === rank;
      const count = inside.reduce((sum, _, row) => sum + wanted(row), 0);
      const alpha = Math.min(0.85, Math.max(0.04, (45 * most) / count ** 0.9));
      this.strokeAll(context, wanted, this.colour(colour), width, dash, alpha);
    });
  }

  colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name);
  }

  clean(canvas) {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, this.view.width, this.view.height);
    context.lineJoin = "round";
    return context;
  }

  strokeAll(context, wanted, colour, width, dash, alpha) {
    Object.assign(context, { strokeStyle: colour, lineWidth: width, globalAlpha: alpha });
    context.setLineDash(dash);
    for (let row = 0; row < this.view.rows.length; row += 1) if (wanted(row)) this.stroke(context, row);
  }

  stroke(context, row) {
    context.beginPath();
    this.view.list.forEach((axis, index) => {
      const [across, along] = [this.view.across(index), this.view.along(axis.placeOfRow[row])];
      if (this.view.lying) context.lineTo(along, across);
      else context.lineTo(across, along);
    });
    context.stroke();
  }

  // The trial under the pointer and the chosen one, above all others.
  drawMarks() {
    const context = this.clean(this.marks);
    const ink = this.colour("--ink");
    const chosen = this.view.rows.findIndex(({ key }) => key === state.chosen);
    for (const row of new Set([chosen, this.view.hovered])) {
      if (row >= 0) this.strokeAll(context, (one) => one === row, ink, 2.5, [], 1);
    }
  }

  rowAt(event) {
    const { left, top } = this.marks.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    const [across, along] = this.view.lying ? [y, x] : [x, y];
    const index = this.view.list.findLastIndex((_, at) => across >= this.view.across(at));
    if (index < 0 || index + 1 === this.view.list.length) return -1;
    const share = (across - this.view.across(index)) / (this.view.across(index + 1) - this.view.across(index));
    const [before, after] = [this.view.list[index].placeOfRow, this.view.list[index + 1].placeOfRow];
    let [best, nearest] = [-1, NEAR];
    this.view.rows.forEach(({ key }, row) => {
      if (state.filter !== null && !state.filter.has(key)) return;
      const distance = Math.abs(this.view.along(before[row] + share * (after[row] - before[row])) - along);
      if (distance <= nearest) [best, nearest] = [row, distance];
    });
    return best;
  }
}
