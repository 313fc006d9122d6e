/** A filter's text, taken apart. */

/** Returns the conditions of a filter, each a column and what stands behind `=`. Written as in an address, except that `+` is itself. */
export function conditions(filter: string): [column: string, condition: string][] {
  return filter
    .split("&")
    .filter(Boolean)
    .map((part) => {
      const [column = "", ...rest] = part.split("=");
      return [decoded(column), decoded(rest.join("="))];
    });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A `%` of a pattern that nobody has encoded.
    return text;
  }
}
