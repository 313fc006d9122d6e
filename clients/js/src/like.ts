/** `like` and `ilike`: `*` or `%` is any text, `_` one character, `\` takes the next one as it is. */

const LONGEST = 20_000;

/** Returns what says whether a text is like a pattern; null for a text that is too long to be searched. */
export function like(pattern: string, ignoreCase: boolean): (text: string) => boolean | null {
  const lower = (text: string): string => (ignoreCase ? text.toLowerCase() : text);
  const pieces = [""];
  for (const [token] of lower(pattern).replaceAll("*", "%").matchAll(/\\?[^]/gu)) {
    if (token === "%") pieces.push("");
    else pieces.push(pieces.pop() + (token === "_" ? "." : `\\u{${token.codePointAt(token.length > 1 && token[0] === "\\" ? 1 : 0)?.toString(16)}}`));
  }
  const [first = "", ...middle] = pieces;
  const last = middle.pop();
  // Each `%` takes the first that fits and never another, so that no pattern takes long. JavaScript has no atomic groups; this is one.
  const any = middle.filter(Boolean).map((piece, at) => `(?=(.*?${piece}))\\${at + 1}`);
  const expression = new RegExp(`^${first}${any.join("")}${last === undefined ? "" : `.*${last}`}$`, "su");
  return (text) => (text.length > LONGEST ? null : expression.test(lower(text)));
}
