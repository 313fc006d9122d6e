/** The selected event: what has changed, its JSON, its bytes, and for admins why somebody did or did not get it. */

import { differences } from "./change.js";
import { bytes, clock, find, make, moment, span, tabs } from "./dom.js";
import { brief, pretty } from "./json.js";
import { plain, seen, shown } from "./raw.js";

const SIGNS = { changed: "~", added: "+", removed: "−", same: "" };
const WORDS = { changed: "changed", added: "added", removed: "removed", same: "the same" };
const ROWS = 200;
/** Characters of a cell, where there are many cells. */
const CELL = 1000;

export class Detail {
  entry;
  #stream = () => "";

  /** `streamOf` tells which stream an entry came on. */
  constructor(streamOf) {
    this.#stream = streamOf;
    this.views = tabs(find("detail-views"));
  }

  show(entry) {
    this.entry = entry;
    const { event, change } = entry;
    find("detail").hidden = false;
    find("detail-title").textContent = event.name;
    find("facts").replaceChildren(...facts(entry).map(([name, said]) => make("span", {}, make("b", {}, name), ` ${said}`)));
    fill("diff-panel", () => [difference(change)]);
    fill("json-panel", () => [plain(change.body === undefined ? event.data : pretty(change.body))]);
    fill("raw-panel", () => [make("p", { class: "note" }, `${bytes(event.raw.length)}, as they came`), shown(event.raw)]);
    find("verdict").replaceChildren();
    find("view-explain").disabled = change.control;
    if (change.control && find("view-explain").getAttribute("aria-selected") === "true") this.views.show("view-diff");
    find("explain-stream").value = this.#stream(entry);
  }

  /** Asks the form's question about the event; `filters` tells those of a stream. */
  question(filters) {
    const stream = find("explain-stream").value.trim();
    return { id: this.entry.event.id, stream, sub: find("explain-sub").value.trim(), role: find("explain-role").value, filters: filters(stream) };
  }
}

/** Fills a panel. What cannot be shown says so, and leaves nothing of the event before. */
function fill(panel, content) {
  try {
    find(panel).replaceChildren(...content());
  } catch (error) {
    find(panel).replaceChildren(make("p", { class: "bad" }, `It cannot be shown: ${error.message}`));
  }
}

function facts({ event, change, receivedAt, delay, replayed }) {
  const committed = change.committed === undefined ? [] : [["committed", moment(change.committed)]];
  const late = delay === undefined ? [] : [[replayed ? "replayed after" : "delay", span(delay)]];
  return [["id", event.id], ["received", clock(receivedAt)], ...committed, ...late];
}

function difference(change) {
  if (change.control && change.body?.rows?.length) return rowsOf(change.body.rows);
  if (change.control || change.body === undefined) return fields(change.body);
  const found = differences(change);
  if (!found.length) return make("p", { class: "note" }, "It has no columns to compare.");
  const rows = found.map(({ column, mark, ...each }) =>
    make(
      "tr",
      { class: mark },
      make("td", { class: "sign" }, make("span", { "aria-hidden": "true" }, SIGNS[mark]), make("span", { class: "unseen" }, WORDS[mark])),
      make("th", { scope: "row" }, column),
      make("td", { class: "old" }, valueOf(each.old)),
      make("td", { class: "new" }, valueOf(each.new)),
    ),
  );
  const head = ["", "Column", "Old", "New"].map((name, at) => make("th", { scope: "col" }, name || make("span", { class: "unseen" }, at ? "" : "What")));
  return make(
    "div",
    {},
    change.left ? make("p", { class: "note" }, "The row lives on: it is somebody else’s now, or passes the filter no more. Only its key is told.") : "",
    change.truncated ? make("p", { class: "note" }, "The row was too large to be carried: only its key came.") : "",
    make("table", { class: "diff" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)),
  );
}

function valueOf(value, most) {
  if (value === undefined) return "";
  if (value === null) return make("i", {}, "null");
  return value === "" ? make("i", {}, "empty") : seen(brief(value), most);
}

/** A control event is no row: its fields, one below the other. */
function fields(body) {
  if (body === undefined) return make("p", { class: "bad" }, "Nothing can be made of the data: see the raw bytes.");
  return make("dl", { class: "claims" }, ...Object.entries(body).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, seen(brief(value))))));
}

/** A snapshot's page: its rows as they are. */
function rowsOf(rows) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const line = (row) => make("tr", {}, ...columns.map((column) => make("td", {}, valueOf(row[column], CELL))));
  return make(
    "table",
    { class: "rows" },
    make("thead", {}, make("tr", {}, ...columns.map((column) => make("th", { scope: "col" }, column)))),
    make("tbody", {}, ...rows.slice(0, ROWS).map(line)),
  );
}
