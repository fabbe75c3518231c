// The table of all trials: sorted, filtered and saved here, so that it needs no server.

const TABLE_PAGE = 25; // rows shown at once

const numberOr = (value) => (Number.isFinite(value) ? value : null);

// A column: what it sorts by and saves (`value`), what it shows (`text`), and whether a narrow page has it.
const TABLE_COLUMNS = [
  { name: "trial", number: true, value: (e) => e.number, narrow: true },
  { name: "status", value: (e) => e.status, text: statusText, narrow: true },
  { name: "arm", value: (e) => e.arm },
  { name: "level", number: true, value: (e) => numberOr(e.level), text: (e) => flopsText(e.level) },
  { name: "accuracy", number: true, value: (e) => numberOr(e.accuracy), text: (e) => percentText(e.accuracy), narrow: true },
  { name: "trained again", saved: "repeated_accuracy", number: true, value: (e) => numberOr(e.finalist?.accuracy), text: againText },
  { name: "FLOPs", number: true, value: (e) => numberOr(e.deployed.flops), text: (e) => flopsText(e.deployed.flops), narrow: true },
  { name: "params", number: true, value: (e) => numberOr(e.deployed.params), text: (e) => countText(e.deployed.params) },
  { name: "activations", number: true, value: (e) => numberOr(e.deployed.activations), text: (e) => countText(e.deployed.activations) },
  { name: "latency", number: true, value: (e) => numberOr(e.deployed.latency), text: (e) => millisecondsText(e.deployed.latency), where: () => latencyKnown },
  { name: "pattern", value: (e) => e.pattern, narrow: true },
  { name: "seconds", number: true, value: (e) => numberOr(e.seconds), text: (e) => secondsText(e.seconds) },
];
let latencyKnown = false; // whether a trial of the page has a predicted latency
const RUN_COLUMN = { name: "run", value: (e) => page.runs[e.run] ?? String(e.run), narrow: true };
// What a saved table has besides.
const SAVED_COLUMNS = [
  { name: "interval_low", value: (e) => numberOr(e.finalist?.low) },
  { name: "interval_high", value: (e) => numberOr(e.finalist?.high) },
  { name: "repeated_trainings", value: (e) => numberOr(e.finalist?.seeds) },
  { name: "worker", value: (e) => numberOr(e.worker) },
  { name: "name", value: (e) => e.name },
  { name: "reason", value: (e) => e.reason },
];

function statusText(entry) {
  return entry.reason ? `${entry.status}: ${entry.reason}` : entry.status;
}

// The mean over fresh seeds on other images: not the number that the search chose by.
function againText({ finalist: { accuracy, low, high, seeds } }) {
  return `${percentText(accuracy)} (${percentText(low)} to ${percentText(high)}), n = ${seeds}`;
}

function tableColumns() {
  const columns = TABLE_COLUMNS.filter((column) => !column.where || column.where());
  return page.runs.length > 1 ? [RUN_COLUMN, ...columns] : columns;
}

function cellText(column, entry) {
  const value = column.value(entry);
  if (value === null || value === undefined) return "";
  return column.text ? column.text(entry) : String(value);
}

// Rows without a value stand last in both directions.
function compareBy(column, descending) {
  return (one, other) => {
    const [a, b] = [column.value(one), column.value(other)].map((value) => value ?? null);
    if (a === null || b === null) return (a === null) - (b === null);
    const order = column.number ? a - b : String(a).localeCompare(String(b));
    return descending ? -order : order;
  };
}

// A spreadsheet would run a text that begins like a formula, and one that divides at semicolons or tabs a part of a
// text too; a number that is below zero stays one.
const FORMULA = /(?<=^|[;\t\r\n])(?=["\s]*[=+\-@]|[\t\r])/g;

function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = String(value).replace(FORMULA, "'");
  return /[",;\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// RFC 4180; numbers as the page has them, accuracies as fractions.
function csvOf(rows) {
  const columns = [...tableColumns(), ...SAVED_COLUMNS];
  const head = columns.map((column) => column.saved ?? column.name);
  const lines = rows.map((entry) => columns.map((column) => csvCell(column.value(entry))).join(","));
  return `${[head.join(","), ...lines].join("\r\n")}\r\n`;
}

function save(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = element("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));

class TrialTable {
  constructor(box) {
    Object.assign(this, { words: "", sort: "trial", descending: false, first: 0, rows: [], texts: new Map() });
    this.search = element("input", { type: "search", placeholder: "filter the rows", "aria-label": "Filter the rows by text" });
    this.status = element("p", { class: "quiet", role: "status" });
    this.brush = this.button("Filter the page", () => this.toggleFilter());
    this.csv = this.button("CSV", () => save("trials.csv", "text/csv;charset=utf-8", csvOf(this.rows)));
    this.parquet = this.button("Parquet (all trials)", () => {
      save("trials.parquet", "application/vnd.apache.parquet", bytesOf(page.parquet));
    });
    this.head = element("thead");
    this.body = element("tbody");
    this.back = this.button("Previous", () => this.turn(-TABLE_PAGE));
    this.next = this.button("Next", () => this.turn(TABLE_PAGE));
    this.place = element("span", { class: "quiet" });
    this.scroll = element(
      "div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "All trials" },
      element("table", { class: "trials" }, this.head, this.body),
    );
    const tools = element("div", { class: "tools" }, this.search, this.brush, this.csv, this.parquet);
    this.pages = element("div", { class: "tools" }, this.back, this.place, this.next);
    box.replaceChildren(tools, this.status, this.scroll, this.pages);
    this.search.addEventListener("input", () => {
      this.words = this.search.value;
      this.refresh();
    });
    bus.addEventListener("filter", () => this.refresh());
    bus.addEventListener("choose", () => this.showChosen());
  }

  button(text, action) {
    const made = element("button", { type: "button", text });
    made.addEventListener("click", action);
    return made;
  }

  // Data are there or new: what stood in the cells may have changed.
  reload() {
    latencyKnown = [...entries.values()].some((entry) => numberOr(entry.deployed.latency) !== null);
    this.texts.clear();
    this.refresh(true);
  }

  textOf(entry) {
    let text = this.texts.get(entry.key);
    if (text === undefined) {
      const all = tableColumns().map((column) => cellText(column, entry));
      text = [...all, entry.name, entry.levelText ?? ""].join("\n").toLowerCase();
      this.texts.set(entry.key, text);
    }
    return text;
  }

  // Every word must stand somewhere in the row.
  matching() {
    const words = this.words.toLowerCase().split(/\s+/).filter(Boolean);
    return [...entries.values()].filter((entry) => words.every((word) => this.textOf(entry).includes(word)));
  }

  refresh(stay = false) {
    const column = tableColumns().find((one) => one.name === this.sort);
    const found = this.matching().filter((entry) => state.filter === null || state.filter.has(entry.key));
    this.rows = found.sort(compareBy(column, this.descending));
    if (!stay || this.first >= this.rows.length) this.first = 0;
    this.draw();
  }

  turn(step) {
    this.first = Math.max(0, Math.min(this.first + step, this.rows.length - 1));
    this.first -= this.first % TABLE_PAGE;
    this.draw();
  }

  // The page's filter is what the rows are at the moment; with one set, the button takes it away.
  toggleFilter() {
    if (state.filter !== null) setFilter(null);
    else setFilter(new Set(this.rows.map((entry) => entry.key)));
  }

  sortBy(column) {
    this.descending = this.sort === column.name ? !this.descending : column.name === "accuracy";
    this.sort = column.name;
    this.refresh();
    this.head.querySelector("[aria-sort] button")?.focus();
  }

  showChosen() {
    const at = this.rows.findIndex((entry) => entry.key === state.chosen);
    if (at >= 0) this.first = at - (at % TABLE_PAGE);
    this.draw();
  }

  draw() {
    const focused = document.activeElement?.dataset?.key;
    this.head.replaceChildren(element("tr", {}, ...tableColumns().map((column) => this.headCell(column))));
    const shown = this.rows.slice(this.first, this.first + TABLE_PAGE);
    this.body.replaceChildren(...shown.map((entry) => this.row(entry)));
    if (focused !== undefined) this.body.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    this.drawWords(shown.length);
  }

  drawWords(shown) {
    const all = entries.size;
    const kept = state.filter === null ? "" : `; the page's filter keeps ${exactText(state.filter.size)}`;
    const none = all === 0 ? "No trial has ended yet." : "No trial fits the filter.";
    this.status.textContent = this.rows.length ? `${exactText(this.rows.length)} of ${exactText(all)} trials${kept}` : none;
    this.scroll.hidden = this.rows.length === 0;
    this.pages.hidden = this.rows.length <= TABLE_PAGE;
    this.place.textContent = `${exactText(this.first + 1)} to ${exactText(this.first + shown)}`;
    this.back.disabled = this.first === 0;
    this.next.disabled = this.first + shown >= this.rows.length;
    this.csv.textContent = this.rows.length === all ? "CSV (all trials)" : `CSV (${exactText(this.rows.length)} rows)`;
    this.csv.disabled = this.rows.length === 0;
    this.parquet.hidden = !page.parquet;
    this.brush.textContent = state.filter === null ? "Filter the page to these rows" : "Clear the page's filter";
    this.brush.disabled = state.filter === null && (this.rows.length === 0 || this.rows.length === all);
  }

  headCell(column) {
    const sorted = this.sort === column.name;
    const button = this.button(column.name, () => this.sortBy(column));
    if (sorted) button.append(element("span", { "aria-hidden": "true", text: this.descending ? " ▼" : " ▲" }));
    const order = this.descending ? "descending" : "ascending";
    const looks = { scope: "col", class: this.looks(column), "aria-sort": sorted ? order : null };
    return element("th", looks, button);
  }

  looks(column) {
    return `${column.number ? "number" : ""} ${column.narrow ? "" : "wide"}`.trim();
  }

  row(entry) {
    const chosen = entry.key === state.chosen;
    const cells = tableColumns().map((column) => this.cell(column, entry));
    const row = element("tr", { class: chosen ? "chosen" : "", "aria-current": chosen ? "true" : null }, ...cells);
    row.addEventListener("click", () => choose(entry.key));
    return row;
  }

  cell(column, entry) {
    const text = cellText(column, entry);
    const looks = { class: this.looks(column) };
    if (column.name !== "trial") return element("td", { ...looks, text });
    // A click on the row does the same; the button is there for the keyboard.
    const open = element("button", { type: "button", text, "data-key": entry.key, "aria-label": `Open trial ${text}` });
    return element("th", { ...looks, scope: "row" }, open);
  }
}

const trialTables = new Map(); // by the box that they are drawn in

WIDGETS.table = (box) => {
  if (!trialTables.has(box)) trialTables.set(box, new TrialTable(box));
  trialTables.get(box).reload();
};
