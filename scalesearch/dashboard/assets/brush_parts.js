// An axis of parallel coordinates as elements: its name, its values, and the track that is dragged on.

const STEPS = 20; // of a key on a scale

class AxisPart {
  constructor(view, axis, index) {
    Object.assign(this, { view, axis });
    this.track = element("div", { class: "track", tabindex: "0", role: "group" });
    this.ticks = this.buildTicks();
    const nodes = this.ticks.map((tick) => tick.node);
    this.node = element("div", { class: "axis", "data-axis": axis.id }, this.buildHead(), this.track, ...nodes);
    const { style } = this.node;
    const { lying, pitch } = view;
    if (lying) Object.assign(style, { left: "0", width: "100%", top: `${index * pitch}px`, height: `${pitch}px` });
    else Object.assign(style, { left: `${index * pitch}px`, width: `${pitch}px`, top: "0", height: "100%" });
    this.listen();
    this.track.addEventListener("keydown", (event) => this.press(event));
  }

  buildHead() {
    const { axis, view } = this;
    // A long name may break after its dots.
    const words = axis.title.split(/(?<=\.)/).flatMap((part) => [part, element("wbr")]);
    const name = element("span", { class: "name", title: axis.title }, ...words);
    const remove = element("button", { type: "button", text: "×", title: "remove the axis", "aria-label": `Remove the axis ${axis.title}` });
    remove.addEventListener("click", () => view.show(view.shown().map(({ id }) => id).filter((id) => id !== axis.id)));
    return element("div", { class: "brush-head" }, name, view.list.length > 2 ? remove : null);
  }

  buildTicks() {
    const { axis, view } = this;
    const room = view.lying ? axis.band * (view.width - 16) : view.pitch - 26;
    const limit = Math.max(3, Math.floor(room / 6));
    const slots = axis.slots.map((slot, at) => {
      const text = middleCut(slot.text, limit);
      const node = element("button", { type: "button", class: "tick", text, title: slot.text.slice(0, 200), "data-slot": slot.id });
      node.addEventListener("click", () => {
        axis.toggle(slot.id);
        view.commit();
      });
      this.putTick(node, axis.band * (at + 0.5));
      return { node, slot };
    });
    const numbers = axis.ticks(view.lying ? 4 : 5).map((number) => {
      const node = element("span", { class: "tick", text: axis.textOf(number) });
      this.putTick(node, axis.placeOf(number));
      return { node, slot: null };
    });
    return [...slots, ...numbers];
  }

  putTick(node, place) {
    const { view } = this;
    if (view.lying) {
      // At the ends a text stays within the page.
      const shift = place < 0.1 ? -10 : place > 0.9 ? -90 : -50;
      Object.assign(node.style, { left: `${view.along(place)}px`, transform: `translateX(${shift}%)` });
    } else node.style.top = `${view.along(place)}px`;
  }

  listen() {
    const { axis, track, view } = this;
    let from = null;
    let moved = false;
    track.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      [from, moved] = [event, false];
      track.setPointerCapture(event.pointerId);
    });
    track.addEventListener("pointermove", (event) => {
      if (!from) return;
      moved ||= Math.hypot(event.clientX - from.clientX, event.clientY - from.clientY) > 3;
      if (!moved) return;
      const [a, b] = [view.placeAt(from), view.placeAt(event)];
      axis.keep(Math.min(a, b), Math.max(a, b));
      view.drawSoon();
    });
    const end = () => {
      if (!from) return;
      from = null;
      if (!moved) axis.clear();
      view.commit();
    };
    track.addEventListener("pointerup", end);
    track.addEventListener("pointercancel", end);
  }

  // Arrow keys move the kept part, with Shift they move its upper end; Escape keeps all again.
  press(event) {
    const { axis, view } = this;
    const direction = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
    if (["Escape", "Delete", "Backspace"].includes(event.key)) axis.clear();
    else if (direction) this.nudge(direction, event.shiftKey);
    else return;
    event.preventDefault();
    view.commit();
  }

  nudge(direction, resize) {
    const { axis } = this;
    const step = axis.scale ? 1 / STEPS : axis.band;
    const spans = axis.spans();
    if (!spans.length) return axis.keep(...(direction > 0 ? [0, step] : [1 - step, 1]));
    let from = Math.min(...spans.map(([a]) => a));
    let to = Math.max(...spans.map(([, b]) => b));
    if (resize) to = Math.min(1, Math.max(from + step, to + direction * step));
    else {
      const move = Math.max(-from, Math.min(1 - to, direction * step));
      [from, to] = [from + move, to + move];
    }
    return axis.keep(from, to);
  }

  draw() {
    const { axis, track, ticks, view } = this;
    const spans = axis.spans().map(([from, to]) => {
      const node = element("div", { class: "kept" });
      const [a, b] = [view.along(from), view.along(to)].sort((one, other) => one - other);
      Object.assign(node.style, view.lying ? { left: `${a}px`, width: `${b - a}px` } : { top: `${a}px`, height: `${b - a}px` });
      return node;
    });
    track.replaceChildren(...spans);
    track.setAttribute("aria-label", `${axis.title}, ${axis.words()}. Arrow keys move the kept part, with Shift its upper end; Escape clears.`);
    for (const { node, slot } of ticks) if (slot) node.setAttribute("aria-pressed", String(axis.selected.slots.has(slot.id)));
  }
}
