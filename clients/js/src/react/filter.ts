/** A filter as an object, written as the text that the gateway reads. All conditions must hold. */

/** A value is equality, a list is "one of them", null is null. Other operators are written as text. */
export type FilterObject = Readonly<Record<string, string | number | boolean | null | readonly (string | number)[] | undefined>>;

/** `{ city: "Austin" }`, or PostgREST's syntax: `city=eq.Austin&price=lt.500000`. */
export type FilterOption = string | FilterObject | undefined;

/** Returns the text, empty where everything passes; null where nothing can, since a list is empty. The order of the columns does not matter. */
export function filterText(filter: FilterOption): string | null {
  if (filter === undefined || typeof filter === "string") return filter ?? "";
  const conditions: string[] = [];
  for (const column of Object.keys(filter).sort()) {
    const value = filter[column];
    if (value === undefined) continue;
    if (Array.isArray(value) && value.length === 0) return null;
    conditions.push(`${encodeURIComponent(column)}=${encodeURIComponent(condition(value))}`);
  }
  return conditions.join("&");
}

function condition(value: Exclude<FilterObject[string], undefined>): string {
  if (value === null) return "is.null";
  if (typeof value === "object") return `in.(${value.map(item).join(",")})`;
  return `eq.${value}`;
}

/** A comma, a quote or a bracket would end an item of a list that is not in quotes. */
function item(value: string | number): string {
  const text = String(value);
  return /[",()]/.test(text) ? `"${text.replace(/["\\]/g, "\\$&")}"` : text;
}
