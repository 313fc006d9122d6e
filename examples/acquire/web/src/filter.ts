/** What a visitor looks for: as the form has it, as the address of the page, as the stream's filter, and as a saved search. */

export interface Filter {
  readonly city: string;
  readonly state: string;
  readonly status: string;
  readonly min_price: string;
  readonly max_price: string;
  readonly min_units: string;
  readonly max_units: string;
}

/** What the site keeps of one. Null is any. */
export interface Search {
  readonly city: string | null;
  readonly state: string | null;
  readonly min_price: number | null;
  readonly max_price: number | null;
  readonly min_units: number | null;
  readonly max_units: number | null;
}

export const ANY: Filter = { city: "", state: "", status: "", min_price: "", max_price: "", min_units: "", max_units: "" };
const CONDITIONS: Readonly<Record<keyof Filter, string>> = {
  city: "city=eq.",
  state: "state=eq.",
  status: "status=eq.",
  min_price: "price=gte.",
  max_price: "price=lte.",
  min_units: "units=gte.",
  max_units: "units=lte.",
};
const NAMES = Object.keys(ANY) as (keyof Filter)[];
const NUMBERS: ReadonlySet<keyof Filter> = new Set(["min_price", "max_price", "min_units", "max_units"]);
/** As long as a city may be, without control characters. */
const TEXT = /^\P{Cc}{0,60}$/u;

/** Returns the filter as the stream understands it: it is a room, and what comes to pass it enters. */
export function conditions(filter: Filter): string {
  return NAMES.filter((name) => filter[name] !== "")
    .map((name) => CONDITIONS[name] + encodeURIComponent(filter[name]))
    .join("&");
}

/** Reads the filter from the page's address. Anybody may have written that: what no form would say is left out, for the gateway refuses it. */
export function fromAddress(): Filter {
  const given = new URLSearchParams(location.search);
  const read = (name: keyof Filter): string => {
    const text = given.get(name) ?? "";
    return (NUMBERS.has(name) ? isNumber(text) : TEXT.test(text)) ? text : "";
  };
  return Object.fromEntries(NAMES.map((name) => [name, read(name)])) as unknown as Filter;
}

/** Whether it is a number as the form has it, or nothing. */
export function isNumber(text: string): boolean {
  return /^\d{0,15}$/.test(text);
}

/** Writes the filter into the page's address, so that it can be kept and passed on. */
export function toAddress(filter: Filter): void {
  const query = new URLSearchParams(NAMES.filter((name) => filter[name] !== "").map((name) => [name, filter[name]])).toString();
  history.replaceState(null, "", query === "" ? location.pathname : `?${query}`);
}

/** Returns what can be saved of a filter: who watches a listing wants to know its status, whatever that is. */
export function toSearch(filter: Filter): Search {
  const number = (text: string): number | null => (text === "" ? null : Number(text));
  return {
    city: filter.city || null,
    state: filter.state || null,
    min_price: number(filter.min_price),
    max_price: number(filter.max_price),
    min_units: number(filter.min_units),
    max_units: number(filter.max_units),
  };
}
