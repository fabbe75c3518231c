// What hovering a trial's point shows, near the pointer and inside the window.

const POINTER_GAP = 14; // pixels

const memberText = (member) => `${flopsText(member.flops)}, ${resolutionText(member.resolution)}`;

let tooltip = null;

function tooltipBox() {
  if (!tooltip) {
    tooltip = element("div", { class: "tooltip", role: "tooltip", hidden: "" });
    document.body.append(tooltip);
  }
  return tooltip;
}

function outcomeText(entry) {
  if (entry.status !== "complete") return `${entry.status}: ${entry.reason ?? "no reason recorded"}`;
  if (entry.accuracy === null) return "complete, without an accuracy";
  const { finalist } = entry;
  if (!finalist) return `${percentText(entry.accuracy)} (proxy)`;
  const interval = `${percentText(finalist.low)} to ${percentText(finalist.high)}`;
  return `${percentText(entry.accuracy)} (proxy); repeated ${percentText(finalist.accuracy)} (${interval})`;
}

const OPERATOR_ROOM = 20; // characters

function stageLines(stages) {
  const room = Math.min(OPERATOR_ROOM, Math.max(...stages.map((stage) => stage.operator.length)));
  return stages.map((stage, index) => {
    const operator = stage.operator.slice(0, room).padEnd(room);
    const size = `${stage.channels}×${stage.repeats}`.padStart(8);
    return `${String(index + 1).padStart(2)} ${operator} ${size}  k ${stage.kernel ?? "-"}  s ${stage.stride}`;
  });
}

function tooltipLines(entry) {
  const { deployed } = entry;
  const accuracies = entry.trainings.filter((one) => one.role === "search" && one.accuracy !== null);
  const rungs = accuracies.map((one) => `${percentText(one.accuracy)} after ${countText(one.images)}`).join(", ");
  return [
    ["level", entry.levelText],
    [entry.status === "complete" ? "accuracy" : "status", outcomeText(entry)],
    ...(accuracies.length > 1 ? [["images", rungs]] : []),
    ["deployed", memberText(deployed)],
    ["", `${countText(deployed.params)} params, ${countText(deployed.activations)} activations`],
    ...(entry.binding === "flops" ? [] : [["", `${percentText(entry.share)} of the limit on ${entry.binding}`]]),
    ["proxy", memberText(entry.proxy)],
  ];
}

function fillTooltip(box, entry) {
  const name = element("b", { text: `trial ${entry.number}` });
  if (!entry.stages) return box.replaceChildren(name);
  const pairs = tooltipLines(entry).flatMap(([term, words]) => [
    element("dt", { text: term }), element("dd", { text: words }),
  ]);
  return box.replaceChildren(
    element("p", {}, name, element("span", { text: ` ${entry.name}` })),
    element("dl", {}, ...pairs),
    element("pre", { text: stageLines(entry.stages).join("\n") }),
  );
}

// `entry` may be no more than a trial's number, or null for a point that is of none.
function showTooltip(entry, event) {
  if (!entry || !event) return hideTooltip();
  const box = tooltipBox();
  fillTooltip(box, entry);
  box.hidden = false;
  const { clientX, clientY } = event.touches?.[0] ?? event;
  const { width, height } = box.getBoundingClientRect();
  const [wide, high] = [document.documentElement.clientWidth, window.innerHeight];
  const right = clientX + POINTER_GAP;
  const left = right + width <= wide ? right : clientX - POINTER_GAP - width;
  const under = clientY + POINTER_GAP;
  const top = under + height <= high ? under : clientY - POINTER_GAP - height;
  box.style.left = `${Math.max(4, Math.min(left, wide - width - 4))}px`;
  box.style.top = `${Math.max(4, top)}px`;
  return undefined;
}

function hideTooltip() {
  if (tooltip) tooltip.hidden = true;
}
