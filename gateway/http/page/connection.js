/**
 * One open stream, and what becomes of it: CONNECTING → CONNECTED ⇄ RECONNECTING → DISCONNECTED.
 *
 * - It comes back with the last id after whatever passes: a `reconnect`, a cut, silence, 429, 5xx. It does not after a refusal or `closed`.
 * - CONNECTED is after `ready`, and not after a status.
 */

import { Parser } from "./sse.js";
import { problemOf, unreachable } from "./problem.js";
import { address, ask, headers } from "./request.js";
import { span } from "./dom.js";

const FIRST_MS = 1000;
const LONGEST_MS = 30_000;
/** Three heartbeats that did not come. */
const SILENT = 3;

export class Connection {
  lastId = "";
  state = "DISCONNECTED";
  #told;
  #stop;
  #number = "";
  #silence = 30_000;

  /** `told` is `{state(name, why), event(event, receivedAt), beat(), problem(problem)}`. */
  constructor(told) {
    this.#told = told;
  }

  /** Opens the streams of a choice; what was open before is closed. */
  open(choice, token) {
    this.#stop?.abort();
    this.#stop = new AbortController();
    // What was to be gone on from stays so, whatever becomes of this.
    this.lastId = choice.since;
    this.#follow(choice, token, this.#stop.signal);
  }

  close() {
    this.#stop?.abort();
    this.#stop = undefined;
    this.#say("DISCONNECTED", "");
  }

  /** Gives the open stream a newer token. Returns the problem, if there is one. */
  async renew(token) {
    const response = await ask(`streams/connections/${this.#number}/token`, token, { method: "POST" });
    return response.status === 204 ? undefined : problemOf(response);
  }

  async #follow(choice, token, stop) {
    let failures = 0;
    for (let state = "CONNECTING"; ; state = "RECONNECTING") {
      this.#say(state, "");
      const ending = await this.#listen({ ...choice, since: this.lastId }, token, stop);
      if (stop.aborted) return;
      if (!ending.again) return this.#say("DISCONNECTED", ending.why);
      failures = ending.ready ? 0 : failures + 1;
      const wait = ending.retry ?? Math.min(LONGEST_MS, FIRST_MS * 2 ** failures) * (0.5 + Math.random() / 2);
      this.#say("RECONNECTING", `${ending.why} Comes back in ${span(wait)}.`);
      await rest(wait, stop);
      if (stop.aborted) return;
    }
  }

  /** Reads one response to its end: `{again, why, ready, retry}`. */
  async #listen(choice, token, stop) {
    const attempt = new AbortController();
    const signal = AbortSignal.any([stop, attempt.signal]);
    let response;
    try {
      response = await fetch(address(choice), { headers: headers(token, choice.since), signal, cache: "no-store", credentials: "omit" });
    } catch {
      if (!stop.aborted) this.#told.problem(unreachable());
      return { again: true, why: "The gateway cannot be reached." };
    }
    if (response.status !== 200 || !response.headers.get("Content-Type")?.startsWith("text/event-stream")) {
      const problem = await problemOf(response);
      if (!stop.aborted) this.#told.problem(problem);
      return { again: problem.passing, why: problem.title, retry: problem.retryMs };
    }
    return this.#read(response.body.getReader(), attempt, stop);
  }

  async #read(reader, attempt, stop) {
    const parser = new Parser();
    const seen = { again: true, why: "The connection was cut.", ready: false, retry: undefined };
    let silence;
    try {
      for (;;) {
        silence = setTimeout(() => attempt.abort(), this.#silence);
        const { done, value } = await reader.read();
        clearTimeout(silence);
        if (done || stop.aborted) return seen;
        const receivedAt = Date.now();
        for (const each of parser.push(value)) {
          if (each.beat) this.#told.beat();
          else this.#take(each, receivedAt, seen);
        }
      }
    } catch {
      return attempt.signal.aborted ? { ...seen, why: `Nothing was heard for ${span(this.#silence)}.` } : seen;
    } finally {
      clearTimeout(silence);
    }
  }

  #take(event, receivedAt, seen) {
    this.lastId = event.id;
    this.#told.event(event, receivedAt);
    if (!["ready", "reconnect", "closed"].includes(event.name)) return;
    let body = {};
    try {
      body = JSON.parse(event.data);
    } catch {
      // It is shown as it is, and means nothing.
    }
    if (event.name === "ready") {
      seen.ready = true;
      this.#number = String(body.connection ?? "");
      this.#silence = SILENT * 1000 * (Number(body.heartbeat) || 10);
      this.#say("CONNECTED", { fresh: "Live, from now on.", resumed: "Resumed: nothing is missing.", reset: "Reset: what was before is not complete." }[body.status] ?? "");
    } else if (event.name === "reconnect") {
      Object.assign(seen, { why: `The gateway ends the stream: ${body.reason}.`, retry: Number(body.retry) || undefined });
    } else {
      Object.assign(seen, { again: false, why: `The gateway has closed the stream: ${body.reason}.` });
    }
  }

  #say(state, why) {
    this.state = state;
    this.#told.state(state, why);
  }
}

const rest = (milliseconds, stop) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    stop.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
