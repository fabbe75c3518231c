// The axes of parallel coordinates: which values a choice took, and where each stands between 0 and 1.

const MOST_NUMBERS_AS_SLOTS = 7; // more numbers than that, or long ones, get a scale
const MOST_SLOTS = 12;
const SLOT_BESIDE_SCALE = 0.09; // of an axis that stands
const SLOT_BESIDE_LYING = 0.17; // where the text needs the width
const NOT_ASKED = { id: "absent", text: "not asked" };
const GOLDEN = 0.618034;

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const numberText = (value) => (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(3))));

// A text that looks like another kind of value is quoted.
function valueText(value) {
  if (isNumber(value)) return numberText(value);
  if (typeof value !== "string") return JSON.stringify(value);
  return value === "" || /^(null|true|false|[-+.\d].*)$/.test(value) ? JSON.stringify(value) : value;
}

// Names that differ at their end still do when they are cut.
function middleCut(text, limit) {
  if (text.length <= limit) return text;
  const end = Math.max(1, Math.floor((limit - 1) * 0.4));
  return `${text.slice(0, Math.max(1, limit - 1 - end))}…${text.slice(-end)}`;
}

const slotOf = (value) => ({ id: `${typeof value}:${JSON.stringify(value)}`, text: valueText(value), value });

// Below stand values that are none, then words, from below in contrary order, then truths and numbers.
function slotRank({ id, value }) {
  if (id === NOT_ASKED.id) return 0;
  if (value === null) return 1;
  return { object: 2, string: 3, boolean: 4, number: 5 }[typeof value] ?? 2;
}

function compareSlots(one, other) {
  const [a, b] = [slotRank(one), slotRank(other)];
  if (a !== b) return a - b;
  return a >= 4 ? one.value - other.value : other.text.localeCompare(one.text);
}

function logTicks(low, high, count) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const digit of [1, 2, 5]) {
      const at = digit * 10 ** power;
      if (at >= low && at <= high) ticks.push(at);
    }
  }
  const every = Math.ceil(ticks.length / count);
  return ticks.length > 1 ? ticks.filter((_, index) => index % every === 0) : [low, high];
}

class ChoiceAxis {
  // valueOf(entry) is a value, or undefined where there is none; `words` name what stands there then.
  constructor(id, title, valueOf, rows, { text = null, absent = NOT_ASKED.text, log = false, scale = false } = {}) {
    Object.assign(this, { id, title, text, absent, log });
    this.selected = { range: null, slots: new Set() };
    const values = rows.map(valueOf);
    this.arrange(values, scale);
    this.locate(values);
    this.fit(false);
  }

  arrange(values, scale) {
    const numbers = [...new Set(values.filter(isNumber))];
    const short = numbers.every((value) => String(value).length <= 5 || this.text);
    const asSlots = !scale && short && numbers.length <= MOST_NUMBERS_AS_SLOTS;
    const counts = new Map();
    for (const value of values) {
      if (isNumber(value) && !asSlots) continue;
      const slot = value === undefined ? { ...NOT_ASKED, text: this.absent } : slotOf(value);
      if (this.text && isNumber(value)) slot.text = this.text(value);
      counts.set(slot.id, { slot, count: (counts.get(slot.id)?.count ?? 0) + 1 });
    }
    const frequent = [...counts.values()].sort((a, b) => b.count - a.count).map(({ slot }) => slot);
    this.slots = frequent.slice(0, MOST_SLOTS).sort(compareSlots);
    if (frequent.length > MOST_SLOTS) {
      const rest = { id: "rest", text: `${frequent.length - MOST_SLOTS + 1} others` };
      this.slots = [rest, ...frequent.slice(0, MOST_SLOTS - 1).sort(compareSlots)];
    }
    this.scale = asSlots || !numbers.length ? null : this.scaleOf(numbers);
    this.varied = this.slots.length + (this.scale ? 2 : 0) > 1;
  }

  scaleOf(numbers) {
    const low = numbers.reduce((a, b) => Math.min(a, b));
    const high = numbers.reduce((a, b) => Math.max(a, b));
    return { low, high, log: this.log && low > 0 };
  }

  // For each row its slot, or -1 on the scale, and its number.
  locate(values) {
    const index = new Map(this.slots.map(({ id }, at) => [id, at]));
    const rest = index.get("rest") ?? -1;
    this.slotOfRow = Int16Array.from(values, (value) => {
      if (value === undefined) return index.get(NOT_ASKED.id) ?? rest;
      if (this.scale && isNumber(value)) return -1;
      return index.get(slotOf(value).id) ?? rest;
    });
    this.numberOfRow = Float64Array.from(values, (value) => (isNumber(value) ? value : NaN));
  }

  // Share the axis out between slots and scale, and give each row its place.
  fit(lying) {
    const beside = Math.min(lying ? SLOT_BESIDE_LYING : SLOT_BESIDE_SCALE, 0.6 / Math.max(1, this.slots.length));
    this.band = this.scale ? beside : 1 / Math.max(1, this.slots.length);
    this.base = this.scale ? this.slots.length * this.band : 1;
    this.placeOfRow = Float32Array.from(this.slotOfRow, (slot, row) => {
      // Spread within the slot, so that many lines are seen as many.
      if (slot >= 0) return this.band * (slot + 0.5 + 0.5 * (((row + 1) * GOLDEN) % 1 - 0.5));
      return this.placeOf(this.numberOfRow[row]);
    });
  }

  placeOf(number) {
    const { low, high, log } = this.scale;
    const map = log ? Math.log : (value) => value;
    const share = high > low ? (map(number) - map(low)) / (map(high) - map(low)) : 0.5;
    return this.base + (1 - this.base) * (0.02 + 0.96 * share);
  }

  numberAt(place) {
    const { low, high, log } = this.scale;
    const share = ((place - this.base) / (1 - this.base) - 0.02) / 0.96;
    return log ? low * (high / low) ** share : low + (high - low) * share;
  }

  textOf(number) {
    return this.text ? this.text(number) : numberText(number);
  }

  ticks(count) {
    if (!this.scale) return [];
    const { low, high, log } = this.scale;
    if (low === high) return [low];
    return log ? logTicks(low, high, count) : niceTicks(low, high, count);
  }

  get brushed() {
    return this.selected.range !== null || this.selected.slots.size > 0;
  }

  clear() {
    this.selected = { range: null, slots: new Set() };
  }

  passes(row) {
    const { range, slots } = this.selected;
    const slot = this.slotOfRow[row];
    if (slot >= 0) return slots.has(this.slots[slot].id);
    const number = this.numberOfRow[row];
    return range !== null && number >= range[0] && number <= range[1];
  }

  // Keep what another axis of the same choice kept, before it was known what is known now: numbers that stood side
  // by side may have got a scale.
  adopt({ range, slots }) {
    const there = new Set(this.slots.map(({ id }) => id));
    const gone = [...slots].filter((id) => !there.has(id) && id.startsWith("number:")).map((id) => Number(id.slice(7)));
    const numbers = this.scale ? [...gone, ...(range ?? [])] : [];
    this.selected = {
      range: numbers.length ? [Math.min(...numbers), Math.max(...numbers)] : null,
      slots: new Set([...slots].filter((id) => there.has(id))),
    };
  }

  // Keep what stands between two places; an end beyond all numbers is open, so that later ones pass too.
  keep(from, to) {
    const touched = this.slots.filter((_, at) => {
      const overlap = Math.min(to, (at + 1) * this.band) - Math.max(from, at * this.band);
      return overlap > this.band * 0.01;
    });
    const onScale = this.scale !== null && to > this.base + 1e-6;
    this.selected = {
      range: onScale ? this.rangeBetween(from, to) : null,
      slots: new Set(touched.map(({ id }) => id)),
    };
  }

  rangeBetween(from, to) {
    const { low, high } = this.scale;
    return [from <= this.placeOf(low) ? -Infinity : this.numberAt(from), to >= this.placeOf(high) ? Infinity : this.numberAt(to)];
  }

  toggle(id) {
    if (!this.selected.slots.delete(id)) this.selected.slots.add(id);
  }

  // The kept parts as places: [from, to] each.
  spans() {
    const { range, slots } = this.selected;
    const kept = this.slots.flatMap(({ id }, at) => (slots.has(id) ? [[at * this.band, (at + 1) * this.band]] : []));
    const inside = (place) => Math.min(1, Math.max(this.base, place));
    if (range && this.scale) kept.push([inside(this.unclamped(range[0])), inside(this.unclamped(range[1]))]);
    return kept;
  }

  unclamped(number) {
    const { low, high } = this.scale;
    if (!Number.isFinite(number)) return number < 0 ? this.base : 1;
    if (high === low) return number < low ? this.base : number > high ? 1 : this.placeOf(number);
    return this.placeOf(number);
  }

  rangeWords(low, high) {
    if (low === -Infinity && high === Infinity) return "all numbers";
    if (low === -Infinity) return `up to ${this.textOf(high)}`;
    return high === Infinity ? `from ${this.textOf(low)}` : `${this.textOf(low)} to ${this.textOf(high)}`;
  }

  words() {
    const { range, slots } = this.selected;
    const kept = this.slots.filter(({ id }) => slots.has(id)).map(({ text }) => text);
    if (range) kept.push(this.rangeWords(...range));
    return kept.length ? `kept: ${kept.join(", ")}` : "all kept";
  }
}
