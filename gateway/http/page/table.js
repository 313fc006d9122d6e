/**
 * The table of events, the newest first.
 *
 * - Bounded in rows and in bytes; drawn once a frame however many events come.
 * - One row is in the order of focus; the arrow keys go from row to row, and what has the focus is selected.
 */

import { clock, make, span } from "./dom.js";

const MOST_ROWS = 500;
const MOST_BYTES = 32_000_000;
const SEARCHED = 20_000;
/** Characters of a cell. */
const LONGEST = 300;

export class EventTable {
  #body;
  #told;
  #entries = [];
  #bytes = 0;
  #drawn = -1;
  #paused = false;
  #text = "";
  #waiting = false;
  #rows = new Map();
  #selected;

  /** `told` is `{selected(entry), shown({shown, kept, held})}`. */
  constructor(body, told) {
    this.#body = body;
    this.#told = told;
    body.addEventListener("click", (event) => this.#select(event.target.closest("tr")));
    body.addEventListener("focusin", (event) => this.#select(event.target.closest("tr")));
    body.addEventListener("keydown", (event) => this.#step(event));
  }

  /** Adds an entry: `{number, event, change, receivedAt, delay, replayed, summary}`; numbers grow. */
  add(entry) {
    this.#entries.push(entry);
    this.#bytes += entry.event.raw.length;
    while (this.#entries.length > MOST_ROWS || (this.#bytes > MOST_BYTES && this.#entries.length > 1)) {
      const oldest = this.#entries.shift();
      this.#bytes -= oldest.event.raw.length;
      if (!this.#paused) this.#drop(oldest.number);
    }
    this.#soon();
  }

  clear() {
    this.#entries = [];
    this.#bytes = 0;
    this.#redraw();
  }

  /** While paused what is shown stays, and what comes is held, within the same bounds. */
  pause(paused) {
    this.#paused = paused;
    if (!paused) this.#redraw();
    this.#tell();
  }

  search(text) {
    this.#text = text.trim().toLowerCase();
    this.#redraw();
  }

  #redraw() {
    const focused = this.#body.contains(document.activeElement);
    const until = this.#paused ? this.#drawn : Infinity;
    this.#rows.clear();
    this.#body.replaceChildren();
    this.#draw(this.#entries.filter(({ number }) => number <= until));
    if (focused) (this.#rows.get(this.#selected) ?? this.#body.firstElementChild)?.focus();
    if (!this.#paused) this.#soon();
    this.#tell();
  }

  #soon() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      if (!this.#paused) this.#draw(this.#entries.filter(({ number }) => number > this.#drawn));
      this.#tell();
    });
  }

  #draw(entries) {
    const rows = entries.filter((entry) => this.#passes(entry)).map((entry) => this.#row(entry));
    if (entries.length) this.#drawn = Math.max(this.#drawn, entries.at(-1).number);
    this.#body.prepend(...rows.reverse());
    this.#rove();
  }

  #row(entry) {
    const { event, change, number } = entry;
    const kind = change.control ? "control" : change.type.toLowerCase();
    const row = make(
      "tr",
      { tabindex: "-1", "data-number": String(number), "data-id": event.id, "aria-selected": String(number === this.#selected) },
      make("td", { class: "seldom faint" }, clock(entry.receivedAt)),
      make("td", { class: entry.replayed ? "number faint" : "number" }, entry.replayed ? "replayed" : entry.delay === undefined ? "" : span(entry.delay)),
      make("td", { class: "seldom rarely id" }, event.id),
      make("td", {}, event.name),
      make("td", {}, make("span", { class: `type ${kind}` }, change.type)),
      make("td", { class: "seldom id" }, change.key.slice(0, LONGEST)),
      make("td", {}, make("span", { class: "summary" }, entry.summary.slice(0, LONGEST))),
    );
    row.entry = entry;
    this.#rows.set(number, row);
    return row;
  }

  #passes({ event, change, summary }) {
    if (!this.#text) return true;
    return `${event.id} ${event.name} ${change.type} ${summary} ${event.data.slice(0, SEARCHED)}`.toLowerCase().includes(this.#text);
  }

  #drop(number) {
    const row = this.#rows.get(number);
    if (!row) return;
    if (row === document.activeElement) (row.previousElementSibling ?? this.#body).focus();
    this.#rows.delete(number);
    row.remove();
  }

  /** Keeps one row in the order of focus: the selected one, or else the newest. */
  #rove() {
    const there = this.#rows.get(this.#selected) ?? this.#body.firstElementChild;
    for (const row of this.#body.querySelectorAll('tr[tabindex="0"]')) row.tabIndex = row === there ? 0 : -1;
    if (there) there.tabIndex = 0;
  }

  #step(event) {
    const row = event.target.closest("tr");
    const to = {
      ArrowDown: () => row.nextElementSibling,
      ArrowUp: () => row.previousElementSibling,
      Home: () => this.#body.firstElementChild,
      End: () => this.#body.lastElementChild,
    }[event.key]?.();
    if (!to) return;
    event.preventDefault();
    to.focus();
    to.scrollIntoView({ block: "nearest" });
  }

  #select(row) {
    if (!row || row.entry.number === this.#selected) return;
    this.#rows.get(this.#selected)?.setAttribute("aria-selected", "false");
    this.#selected = row.entry.number;
    row.setAttribute("aria-selected", "true");
    this.#rove();
    this.#told.selected(row.entry);
  }

  #tell() {
    const held = this.#paused ? this.#entries.filter(({ number }) => number > this.#drawn).length : 0;
    this.#told.shown({ shown: this.#rows.size, kept: this.#entries.length, held });
  }
}
