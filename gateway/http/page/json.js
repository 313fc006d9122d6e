/** JSON whose numbers keep their digits: a bigint's last ones, a numeric's zeros. Where the browser cannot, they are its numbers. */

const exact = typeof JSON.rawJSON === "function";

export const parse = (text) =>
  JSON.parse(text, (key, value, context) =>
    exact && typeof value === "number" && String(value) !== context.source ? JSON.rawJSON(context.source) : value,
  );

export const pretty = (value) => JSON.stringify(value, null, 2);

/** Whether a value is an object with fields, and not a number that was kept as text. */
export const isRow = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !(exact && JSON.isRawJSON(value));

/** Writes a value in a line: text as it is, everything else as JSON. */
export const brief = (value) => (value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value));

export const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
