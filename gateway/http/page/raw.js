/**
 * Bytes as text in which nothing hides: control characters, marks of direction and width, bytes that are no UTF-8.
 *
 * Of what is long only the beginning is shown: each hidden character is an element, and there may be as many as bytes.
 */

import { make } from "./dom.js";

const ESCAPES = { 0: "\\0", 9: "\\t", 10: "\\n", 13: "\\r" };
/** Characters. */
const MOST = 20_000;
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu;

/** Returns the pieces of some bytes: `{text}` as it is, `{mark}` for what would not be seen. */
export function pieces(bytes) {
  return [...decoded(bytes)].flatMap((piece) => (piece.mark ? [piece] : [...marked(piece.text)]));
}

/** Returns an element that shows bytes. */
export const shown = (bytes) => written("pre", decoded(bytes));

/** Returns an element that shows a text. */
export const seen = (text, most = MOST) => written("span", [{ text }], most);

/** Returns an element that shows a text as it is. */
export function plain(text) {
  const [part, more] = cut(text, MOST);
  return make("pre", {}, part, rest(more));
}

function written(name, found, most = MOST) {
  const element = make(name);
  let [room, more] = [most, 0];
  for (const { text, mark } of found) {
    const [part, over] = mark === undefined ? cut(text, room) : [mark, 0];
    const length = mark === undefined ? text.length : 1;
    more += room > 0 ? over : length;
    // One by one: no call takes so many arguments.
    if (room > 0) for (const piece of mark === undefined ? marked(part) : [{ mark }]) element.append(drawn(piece));
    room -= length;
  }
  element.append(rest(more));
  return element;
}

const drawn = ({ text, mark }) => (mark ? make("span", { class: "mark" }, mark) : text);

const rest = (more) => (more ? make("i", {}, ` … ${more.toLocaleString("en")} more`) : "");

/** Returns a text's beginning, and how many characters more there are. It cuts no pair in two. */
function cut(text, most) {
  const part = text.length > most ? text.slice(0, Math.max(most, 0)).replace(/[\ud800-\udbff]$/, "") : text;
  return [part, text.length - part.length];
}

function* decoded(bytes) {
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  try {
    yield { text: strict.decode(bytes) };
    return;
  } catch {
    // Somewhere in it: character by character then.
  }
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const size = bytes[at] < 0x80 ? 1 : bytes[at] < 0xe0 ? 2 : bytes[at] < 0xf0 ? 3 : 4;
    try {
      text += strict.decode(bytes.subarray(at, at + size));
      at += size;
    } catch {
      if (text) yield { text };
      text = "";
      yield { mark: `\\x${bytes[at++].toString(16).padStart(2, "0")}` };
    }
  }
  if (text) yield { text };
}

function* marked(text) {
  let from = 0;
  for (const { 0: character, index } of text.matchAll(HIDDEN)) {
    if (index > from) yield { text: text.slice(from, index) };
    yield { mark: nameOf(character.codePointAt(0)) };
    // The line goes on in the next one, as it does on the wire.
    if (character === "\n") yield { text: "\n" };
    from = index + 1;
  }
  if (from < text.length) yield { text: text.slice(from) };
}

function nameOf(code) {
  if (code in ESCAPES) return ESCAPES[code];
  if (code < 0x80) return `\\x${code.toString(16).padStart(2, "0")}`;
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}
