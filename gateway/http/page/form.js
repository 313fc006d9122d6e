/** The request's form: the streams that the token may open, the filters of each, and what is asked of all. */

import { find, make } from "./dom.js";

const ORDERED = ["eq", "neq", "gt", "gte", "lt", "lte", "in"];
const OPERATORS = {
  text: [...ORDERED, "like", "ilike", "is"],
  bool: ["eq", "neq", "in", "is"],
  uuid: ["eq", "neq", "in", "is"],
  enum: ["eq", "neq", "in", "is"],
};

export class Form {
  #told;
  #streams = [];
  #known = new Map();

  /** `told` is `{changed()}`. */
  constructor(told) {
    this.#told = told;
    find("request").addEventListener("input", () => told.changed());
  }

  /** Shows the streams that there are. What was chosen of one stays so, also where it was not there meanwhile. */
  show(streams) {
    this.#streams = streams.map((stream) => this.#partOf(stream));
    find("streams").replaceChildren(...this.#streams.map(({ element }) => element));
    this.#told.changed();
  }

  #partOf(stream) {
    const said = JSON.stringify(stream);
    if (this.#known.get(stream.name)?.said !== said) this.#known.set(stream.name, { said, part: new StreamPart(stream, this.#told) });
    return this.#known.get(stream.name).part;
  }

  choose(names) {
    for (const each of this.#streams) each.choose(names.includes(each.name));
    this.#told.changed();
  }

  /** Returns what is chosen, as `request.address` takes it. */
  choice() {
    return {
      streams: this.#streams.filter(({ chosen }) => chosen).map(({ name, filters }) => ({ name, filters })),
      format: find("format").value,
      snapshot: find("snapshot").checked,
      since: find("since").value.trim(),
    };
  }
}

class StreamPart {
  #box;
  #filters;
  #rows = [];

  constructor(stream, told) {
    this.name = stream.name;
    this.#filters = make("div", { class: "filters" });
    this.#box = make("input", { type: "checkbox", value: stream.name, id: `stream-${stream.name}`, onchange: () => this.#show() });
    const columns = Object.entries(stream.filters ?? {});
    const add = () => {
      this.#rows.push(new FilterRow(stream.name, columns, (row) => this.#remove(row, told)));
      this.#filters.append(this.#rows.at(-1).element);
      this.#rows.at(-1).focus();
      told.changed();
    };
    this.more = make("button", { type: "button", class: "quiet", onclick: add, "aria-label": `Add a filter of ${stream.name}` }, "+ Filter");
    this.about = make("dl", { class: "about", id: `about-${stream.name}`, hidden: true }, ...facts(stream).flatMap(([name, said]) => [make("dt", {}, name), make("dd", {}, said)]));
    const tell = make("button", { type: "button", class: "quiet", "aria-label": `About ${stream.name}`, "aria-expanded": "false", "aria-controls": this.about.id }, "About");
    tell.addEventListener("click", () => tell.setAttribute("aria-expanded", String(!(this.about.hidden = !this.about.hidden))));
    this.element = make(
      "li",
      { class: "stream" },
      make("div", { class: "line" }, make("label", { class: "check" }, this.#box, stream.name), columns.length ? this.more : "", tell),
      this.about,
      this.#filters,
    );
    this.choose(false);
  }

  get chosen() {
    return this.#box.checked;
  }

  get filters() {
    return this.#rows.map(({ condition }) => condition).filter(({ value }) => value !== "");
  }

  choose(chosen) {
    this.#box.checked = chosen;
    this.#show();
  }

  #show() {
    this.more.hidden = this.#filters.hidden = !this.chosen;
  }

  #remove(row, told) {
    this.#rows = this.#rows.filter((each) => each !== row);
    row.element.remove();
    (this.#rows.at(-1) ?? { focus: () => this.more.focus() }).focus();
    told.changed();
  }
}

class FilterRow {
  #column;
  #operator;
  #value;

  constructor(stream, columns, removed) {
    this.#column = make("select", { "aria-label": `Column of ${stream}` }, ...columns.map(([name]) => make("option", {}, name)));
    this.#operator = make("select", { "aria-label": "Operator" });
    this.#value = make("input", { "aria-label": "Value", placeholder: "value", autocomplete: "off", spellcheck: "false" });
    const kinds = Object.fromEntries(columns);
    const fill = () => {
      const operators = OPERATORS[kinds[this.#column.value]] ?? [...ORDERED, "is"];
      this.#operator.replaceChildren(...[...operators, ...operators.map((each) => `not.${each}`)].map((each) => make("option", {}, each)));
    };
    this.#column.addEventListener("change", fill);
    this.#operator.addEventListener("change", () => {
      this.#value.placeholder = { in: "one,another", is: "null", like: "A*", ilike: "a*" }[this.#operator.value.replace("not.", "")] ?? "value";
    });
    fill();
    const remove = make("button", { type: "button", class: "quiet", "aria-label": "Remove this filter", onclick: () => removed(this) }, "×");
    this.element = make("div", { class: "filter" }, this.#column, this.#operator, this.#value, remove);
  }

  get condition() {
    return { column: this.#column.value, operator: this.#operator.value, value: this.#value.value };
  }

  focus() {
    this.#column.focus();
  }
}

const facts = ({ table, columns = [], filters = {}, events = [], format }) =>
  [
    ["table", table === "*" ? "every published one" : table],
    ["columns", columns.join(", ")],
    ["filters", Object.entries(filters).map(([column, kind]) => `${column} (${kind})`).join(", ")],
    ["events", events.join(", ")],
    ["format", format],
  ].filter(([, said]) => said);
