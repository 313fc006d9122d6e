/** What is asked of the gateway: addresses, headers, the curl line. No secret is ever part of an address. */

/** Where the gateway is, seen from this module: it may live under a path of somebody else's host. */
export const BASE = new URL("../", import.meta.url);

const encoded = (text) => encodeURIComponent(text).replaceAll("%2C", ",").replaceAll("%3A", ":");

/**
 * Returns the address of a choice: `{streams: [{name, filters: [{column, operator, value}]}], format, snapshot, since}`.
 * Neither brackets nor braces stay in it, which curl would expand.
 */
export function address({ streams, format, snapshot }) {
  const parameters = [];
  for (const { name, filters } of streams) {
    for (const { column, operator, value } of filters) {
      const key = streams.length > 1 ? `${name}.${column}` : column;
      parameters.push(`${encoded(key)}=${encoded(condition({ operator, value }))}`);
    }
  }
  if (format) parameters.push(`format=${format}`);
  if (snapshot) parameters.push("snapshot=1");
  const path = new URL(`streams/${streams.map(({ name }) => name).join(",")}`, BASE);
  return path.href + (parameters.length ? `?${parameters.join("&")}` : "");
}

/** Writes a condition as the gateway reads it; a list may come without its brackets. */
export const condition = ({ operator, value }) => `${operator}.${/(^|\.)in$/.test(operator) && !value.startsWith("(") ? `(${value})` : value}`;

/** Returns a request's headers. Throws an Error with words for what no header can carry. */
export function headers(token, since = "") {
  for (const [what, value] of [["The token", token], ["The Last-Event-ID", since]]) {
    if (!/^[\x20-\x7e]*$/.test(value)) throw new Error(`${what} has characters in it that no header can carry.`);
  }
  return { Authorization: `Bearer ${token}`, ...(since && { "Last-Event-ID": since }) };
}

/** Asks the gateway with a token. The cookie stays here: of another user it would be a contradiction. */
export const ask = (path, token, options = {}) =>
  fetch(new URL(path, BASE), { ...options, headers: headers(token), cache: "no-store", credentials: "omit" });

/** Quotes a word for a shell. */
export const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Returns the line that asks for a choice from a shell, with the token, or with `$TOKEN` where that is to be set. */
export function curl(choice, token, named) {
  const words = ["curl -N", named ? '-H "Authorization: Bearer $TOKEN"' : `-H ${quoted(`Authorization: Bearer ${token}`)}`];
  if (choice.since) words.push(`-H ${quoted(`Last-Event-ID: ${choice.since}`)}`);
  words.push(quoted(address(choice)));
  return words.join(" ");
}
