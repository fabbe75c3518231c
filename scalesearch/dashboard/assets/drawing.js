// Pictures of the network card: a network as blocks, and learning curves.

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 4; // of the palette, in the order of the first screen's chips
const TALLEST = 118; // pixels: a block at the input's resolution
const SLOT = 31; // pixels: the least that a part's numbers take

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

// Colour never stands alone: each operator has a hatch too, and a pair of both for itself up to sixteen.
const colourOf = (index) => `var(--c${index % COLOURS})`;
const hatchOf = (index) => (index + Math.floor(index / COLOURS)) % COLOURS;
const dashOf = (index) => ["none", "6 3", "2 3", "8 3 2 3"][hatchOf(index)];

const HATCHES = [null, "M-2 8L8 -2M4 10L10 4M-2 2L2 -2", "M2 2h2v2h-2zM6 6h2v2h-2z", "M0 4h8"];

function ensureHatches() {
  if (document.getElementById("hatches")) return;
  const patterns = HATCHES.map((path, index) =>
    path === null
      ? null
      : svg(
          "pattern",
          { id: `hatch-${index}`, width: 8, height: 8, patternUnits: "userSpaceOnUse" },
          svg("path", { d: path, stroke: "#fff", "stroke-opacity": 0.75, "stroke-width": 1.6, fill: "none" }),
        ),
  );
  const defs = svg("defs", {}, ...patterns);
  document.body.append(svg("svg", { id: "hatches", width: 0, height: 0, "aria-hidden": "true" }, defs));
}

// A rectangle in an operator's colour and hatch.
function operatorFill(index, place) {
  const hatch = hatchOf(index);
  const over = hatch ? svg("rect", { ...place, fill: `url(#hatch-${hatch})` }) : null;
  return [svg("rect", { ...place, fill: colourOf(index) }), ...(over ? [over] : [])];
}

function operatorChip(index) {
  const place = { width: 12, height: 12, rx: 2 };
  return svg("svg", { class: "swatch", width: 12, height: 12, "aria-hidden": "true" }, ...operatorFill(index, place));
}

const operatorsOf = (entry) => [...new Set(entry.stages.map((stage) => stage.operator))];
const sizeText = (size) => sidesText(Number.isInteger(size) ? [size, size] : size);
const sideOf = (size) => (Array.isArray(size) ? size.at(-1) : size);

function sizeLines(size) {
  if (size === null) return ["?"];
  const sides = Array.isArray(size) ? size : [size];
  return sides.map((side, index) => (index < sides.length - 1 ? `${side}×` : String(side)));
}

// The parts of a network in the order of its data, each with what its block says.
function networkParts(entry) {
  const operators = operatorsOf(entry);
  const last = entry.stages.at(-1)?.size ?? null;
  const stages = entry.stages.map((stage, index) => ({
    name: String(index + 1), size: stage.size, channels: stage.channels, repeats: stage.repeats,
    operator: operators.indexOf(stage.operator), words: `stage ${index + 1}: ${stage.repeats} × ${stage.operator}`,
  }));
  return [
    { name: "input", size: entry.deployed.resolution, words: "input" },
    { name: "stem", size: entry.stem.size, channels: entry.stem.channels, words: "stem" },
    ...stages,
    { name: "head", size: last, unsized: true, channels: entry.head.channels ?? null, words: "head" },
  ];
}

function partBlock(part, middle, width, height) {
  const place = { x: -width / 2, y: middle - height / 2, width, height, rx: 2 };
  if (part.operator === undefined) {
    const empty = part.name === "input";
    return [svg("rect", { ...place, class: empty ? "outline" : "plain" })];
  }
  const each = width / part.repeats;
  const cuts = each < 4 ? [] : Array.from({ length: part.repeats - 1 }, (_, cut) => place.x + (cut + 1) * each);
  const lines = cuts.map((x) => svg("line", { x1: x, x2: x, y1: place.y, y2: place.y + height, class: "cut" }));
  return [...operatorFill(part.operator, place), ...lines];
}

function partLabels(part, middle, height) {
  const sizes = part.unsized ? [] : sizeLines(part.size);
  const above = sizes.map((text, line) =>
    svg("text", { y: middle - height / 2 - 6 - 11 * (sizes.length - 1 - line), class: "strong", text }),
  );
  const under = [
    ["quiet", part.name],
    ["strong", part.channels ?? ""],
    ["quiet", part.repeats ? `×${part.repeats}` : ""],
  ].map(([kind, text], line) => svg("text", { y: middle + TALLEST / 2 + 17 + 13 * line, class: kind, text }));
  return [...above, ...under];
}

// Stages as blocks from left to right: the higher, the larger the map (by the logarithm of its side, so that every
// halving takes off as much); the wider, the more repeats.
function networkDrawing(entry, room) {
  ensureHatches();
  const parts = networkParts(entry);
  const width = Math.max(room, SLOT * parts.length);
  const repeats = entry.stages.reduce((sum, stage) => sum + stage.repeats, 0) || 1;
  const spare = width - SLOT * parts.length;
  const largest = sideOf(entry.deployed.resolution);
  const lines = Math.max(...parts.map((part) => sizeLines(part.size).length));
  const middle = TALLEST / 2 + 11 * lines + 12;
  let left = 0;
  const groups = parts.map((part) => {
    const slot = SLOT + (spare * (part.repeats ?? 0)) / repeats;
    const side = part.size === null ? 1 : sideOf(part.size);
    const height = (TALLEST * Math.log1p(side)) / Math.log1p(largest);
    const block = part.repeats ? slot - 5 : 12;
    const words = `${part.words}, ${part.channels ?? "3"} channels, ${sizeText(part.size)}`;
    const group = svg(
      "g", { transform: `translate(${left + slot / 2} 0)` },
      svg("title", { text: part.name === "input" ? `input, ${sizeText(part.size)}` : words }),
      ...partBlock(part, middle, block, height), ...partLabels(part, middle, height),
    );
    left += slot;
    return group;
  });
  const height = middle + TALLEST / 2 + 50;
  const label = `Drawing of the network: ${parts.slice(1, -1).map((part) => `${part.words} at ${sizeText(part.size)}`).join("; ")}`;
  return svg(
    "svg", { class: "drawing", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    svg("line", { x1: SLOT / 2, x2: width - SLOT / 2, y1: middle, y2: middle, class: "thread" }), ...groups,
  );
}

// Learning curves

function curvePath(curve, across, up) {
  let pen = "M";
  return curve
    .map(([images, loss]) => {
      if (loss === null) {
        pen = "M";
        return "";
      }
      const point = `${pen}${across(images).toFixed(1)} ${up(loss).toFixed(1)}`;
      pen = "L";
      return point;
    })
    .join("");
}

function curveLine(index) {
  const look = { x1: 0, x2: 26, y1: 6, y2: 6, stroke: colourOf(index), "stroke-dasharray": dashOf(index) };
  return svg("svg", { class: "swatch", width: 26, height: 12, "aria-hidden": "true" }, svg("line", { ...look, "stroke-width": 2.5 }));
}

// Training loss against images, a line for each training; null where none has a curve.
function curveChart(trainings, width) {
  const points = trainings.flatMap((training) => training.curve).filter(([, loss]) => loss !== null);
  if (!points.length) return null;
  const [left, right, top, bottom, height] = [34, 20, 10, 34, 180];
  const farthest = Math.max(...points.map(([images]) => images), 1);
  const highest = Math.max(...points.map(([, loss]) => loss), 1e-9) * 1.04;
  const across = (images) => left + ((width - left - right) * images) / farthest;
  const up = (loss) => height - bottom - ((height - top - bottom) * loss) / highest;
  const rows = niceTicks(0, highest, 5).map((loss) => [
    svg("line", { x1: left, x2: width - right, y1: up(loss), y2: up(loss), class: "gridline" }),
    svg("text", { x: left - 6, y: up(loss) + 4, class: "quiet end", text: String(Number(loss.toPrecision(3))) }),
  ]);
  const columns = niceTicks(0, farthest, 4).filter(Number.isInteger).map((images) =>
    svg("text", { x: across(images), y: height - bottom + 15, class: "quiet", text: countText(images).replace(".0 ", " ") }),
  );
  const lines = trainings.map((training, index) =>
    svg("path", { d: curvePath(training.curve, across, up), class: "curve", stroke: colourOf(index), "stroke-dasharray": dashOf(index) }),
  );
  const words = `Training loss against images of ${trainings.length} ${trainings.length === 1 ? "training" : "trainings"}`;
  return svg(
    "svg", { class: "curvechart", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words },
    ...rows.flat(), ...columns,
    svg("text", { x: (left + width - right) / 2, y: height - 4, class: "quiet", text: "training images seen" }), ...lines,
  );
}
