/**
 * Bytes → events (WHATWG HTML §9.2.6), each with the bytes that it came in.
 *
 * - Comments are heartbeats, and belong to no event unless they stand inside one.
 * - What the stream breaks off is not an event.
 */

const LINE_FEED = 10;
const RETURN = 13;
const COLON = 58;
const MARK = [0xef, 0xbb, 0xbf];

export class Parser {
  #bytes = new Uint8Array(0);
  /** Where the event, its line, and what is not yet searched for a line's end begin. */
  #event = 0;
  #line = 0;
  #unsearched = 0;
  #begun = false;
  #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #id = "";
  #fields = { name: "", data: [], retry: undefined };

  /** Takes bytes as they come, and returns what they complete: `{beat: true}`, or `{name, id, data, retry, raw}`. */
  push(chunk) {
    this.#append(chunk);
    const found = [];
    for (let end = this.#lineEnd(); end >= 0; end = this.#lineEnd()) {
      const line = this.#bytes.subarray(this.#line, end);
      const first = this.#line === this.#event;
      this.#line = this.#unsearched = end + (this.#bytes[end] === RETURN && this.#bytes[end + 1] === LINE_FEED ? 2 : 1);
      if (line.length === 0) {
        const event = this.#dispatch();
        if (event) found.push(event);
        this.#event = this.#line;
      } else if (line[0] === COLON) {
        found.push({ beat: true });
        if (first) this.#event = this.#line;
      } else {
        this.#field(this.#decoder.decode(line));
      }
    }
    return found;
  }

  #append(chunk) {
    const kept = this.#bytes.length - this.#event;
    const joined = new Uint8Array(kept + chunk.length);
    joined.set(this.#bytes.subarray(this.#event));
    joined.set(chunk, kept);
    this.#bytes = joined;
    this.#line -= this.#event;
    this.#unsearched -= this.#event;
    this.#event = 0;
    if (!this.#begun && joined.length >= MARK.length) {
      this.#begun = true;
      if (MARK.every((byte, at) => joined[at] === byte)) this.#event = this.#line = this.#unsearched = MARK.length;
    }
  }

  /** Returns where the line ends, or -1. A return that came last waits for the line feed that may belong to it. */
  #lineEnd() {
    for (let at = this.#unsearched; at < this.#bytes.length; at++) {
      if (this.#bytes[at] === LINE_FEED) return at;
      if (this.#bytes[at] === RETURN) {
        this.#unsearched = at;
        return at + 1 < this.#bytes.length ? at : -1;
      }
    }
    this.#unsearched = this.#bytes.length;
    return -1;
  }

  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "data") this.#fields.data.push(value);
    else if (name === "event") this.#fields.name = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.#fields.retry = Number(value);
  }

  #dispatch() {
    const { name, data, retry } = this.#fields;
    this.#fields = { name: "", data: [], retry: undefined };
    if (data.length === 0) return undefined;
    return { name: name || "message", id: this.#id, data: data.join("\n"), retry, raw: this.#bytes.slice(this.#event, this.#line) };
  }
}
