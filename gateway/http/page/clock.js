/**
 * How far this machine's clock is from the server's, as far as HTTP tells.
 *
 * A `Date` header is cut to seconds, and servers write it once a second, a busy one later: the server's clock was within three seconds
 * from it when the answer was made, which was between question and answer. Several answers narrow it down. Within that nothing is corrected.
 */

import { span } from "./dom.js";

const COARSE_MS = 3000;

export class Clock {
  #least = -Infinity;
  #most = Infinity;

  /** Learns from a response; times are this machine's. */
  learn(response, sentAt, receivedAt) {
    const date = Date.parse(response.headers.get("Date") ?? "");
    if (Number.isNaN(date)) return;
    const [least, most] = [sentAt - date - COARSE_MS, receivedAt - date];
    const [low, high] = [Math.max(this.#least, least), Math.min(this.#most, most)];
    // Clocks that do not agree with what was seen before have been set.
    [this.#least, this.#most] = low <= high ? [low, high] : [least, most];
  }

  /** By how much this machine's clock is ahead, in milliseconds; 0 where they may agree. */
  get ahead() {
    return this.#least > 0 || this.#most < 0 ? (this.#least + this.#most) / 2 : 0;
  }

  toString() {
    if (!Number.isFinite(this.#least)) return "The server’s clock is not known.";
    const within = span((this.#most - this.#least) / 2);
    if (!this.ahead) return `This machine’s clock and the server’s agree within ${within}, as far as HTTP tells; nothing is corrected.`;
    return `This machine’s clock is ${span(Math.abs(this.ahead))} ${this.ahead > 0 ? "ahead of" : "behind"} the server’s, give or take ${within}; corrected.`;
  }
}
