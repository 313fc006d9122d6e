/**
 * One open stream, and what becomes of it: CONNECTING → CONNECTED ⇄ RECONNECTING → DISCONNECTED.
 *
 * - It comes back with the last id after whatever passes: a `reconnect`, a cut, silence, 429, 5xx. It does not after a refusal or `closed`.
 * - CONNECTED is after `ready`, and not after a status.
 * - It comes back with the newest token that it was given, and not with the one that it began with.
 * - What the page cannot show is told, and stops nothing.
 */

import { Parser } from "./sse.js";
import { failed, problemOf, unreachable } from "./problem.js";
import { address, ask, headers } from "./request.js";
import { span } from "./dom.js";

const FIRST_MS = 1000;
const LONGEST_MS = 30_000;
/** What a gateway may ask for: neither a storm, nor more than a timer can. */
const SHORTEST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 3_600_000;
/** Three heartbeats that did not come. */
const SILENT = 3;
const SLOWEST_HEARTBEAT_SECONDS = 1200;

export class Connection {
  lastId = "";
  state = "DISCONNECTED";
  #told;
  #stop;
  #token = "";
  #number = "";
  #silence = 30_000;

  /** `told` is `{state(name, why), event(event, receivedAt), unshown(event, receivedAt, error), beat(), problem(problem)}`. */
  constructor(told) {
    this.#told = told;
  }

  /** Opens the streams of a choice; what was open before is closed. */
  open(choice, token) {
    this.#stop?.abort();
    this.#stop = new AbortController();
    // What was to be gone on from stays so, whatever becomes of this.
    this.lastId = choice.since;
    this.#token = token;
    this.#follow(choice, this.#stop.signal);
  }

  close(why = "") {
    this.#stop?.abort();
    this.#stop = undefined;
    this.#say("DISCONNECTED", why);
  }

  /** Gives the stream a newer token of the same user, now or when it is back. Returns the problem, if there is one. */
  async renew(token) {
    if (this.state !== "CONNECTED") {
      this.#token = token;
      return undefined;
    }
    const stop = this.#stop;
    let problem;
    try {
      const response = await ask(`streams/connections/${this.#number}/token`, token, { method: "POST" });
      problem = response.status === 204 ? undefined : await problemOf(response);
    } catch (error) {
      problem = failed(error);
    }
    // What was opened meanwhile has a token of its own; what was cut meanwhile needs this one to come back.
    if (stop === this.#stop && (!problem || this.state !== "CONNECTED")) this.#token = token;
    return problem;
  }

  async #follow(choice, stop) {
    let failures = 0;
    for (let state = "CONNECTING"; ; state = "RECONNECTING") {
      this.#say(state, "");
      const ending = await this.#listen({ ...choice, since: this.lastId }, stop);
      if (stop.aborted) return;
      if (!ending.again) return this.#say("DISCONNECTED", ending.why);
      failures = ending.ready ? 0 : failures + 1;
      const wait = bounded(ending.retry) ?? Math.min(LONGEST_MS, FIRST_MS * 2 ** failures) * (0.5 + Math.random() / 2);
      this.#say("RECONNECTING", `${ending.why} Comes back in ${span(wait)}.`);
      await rest(wait, stop);
      if (stop.aborted) return;
    }
  }

  /** Reads one response to its end: `{again, why, ready, retry}`. */
  async #listen(choice, stop) {
    const attempt = new AbortController();
    const token = this.#token;
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
    return this.#read(response.body.getReader(), token, attempt, stop);
  }

  async #read(reader, token, attempt, stop) {
    const parser = new Parser();
    const seen = { again: true, why: "The connection was cut.", ready: false, retry: undefined, token };
    for (;;) {
      const silence = setTimeout(() => attempt.abort(), this.#silence);
      const piece = await reader.read().catch(() => undefined);
      clearTimeout(silence);
      if (attempt.signal.aborted) return { ...seen, why: `Nothing was heard for ${span(this.#silence)}.` };
      if (!piece || piece.done || stop.aborted) return seen;
      const receivedAt = Date.now();
      for (const each of parser.push(piece.value)) {
        if (each.beat) this.#told.beat();
        else this.#take(each, receivedAt, seen);
      }
    }
  }

  #take(event, receivedAt, seen) {
    this.lastId = event.id;
    try {
      this.#told.event(event, receivedAt);
    } catch (error) {
      this.#told.unshown(event, receivedAt, error);
    }
    if (!["ready", "reconnect", "closed"].includes(event.name)) return;
    let body = {};
    try {
      body = JSON.parse(event.data) ?? {};
    } catch {
      // It is shown as it is, and means nothing.
    }
    if (event.name === "ready") {
      seen.ready = true;
      this.#number = String(body.connection ?? "");
      this.#silence = SILENT * 1000 * Math.min(Number(body.heartbeat) || 10, SLOWEST_HEARTBEAT_SECONDS);
      this.#say("CONNECTED", { fresh: "Live, from now on.", resumed: "Resumed: nothing is missing.", reset: "Reset: what was before is not complete." }[body.status] ?? "");
      if (seen.token !== this.#token) this.renew(this.#token).then((problem) => problem && this.#told.problem(problem));
    } else if (event.name === "reconnect") {
      Object.assign(seen, { why: `The gateway ends the stream: ${body.reason}.`, retry: Number(body.retry ?? NaN) });
    } else {
      Object.assign(seen, { again: false, why: `The gateway has closed the stream: ${body.reason}.` });
    }
  }

  #say(state, why) {
    this.state = state;
    this.#told.state(state, why);
  }
}

/** Returns how long to wait of what the gateway asks for, in milliseconds; undefined where it asks for nothing. */
export const bounded = (retryMs) =>
  Number.isFinite(retryMs) ? Math.min(Math.max(retryMs, SHORTEST_RETRY_MS), LONGEST_RETRY_MS) : undefined;

const rest = (milliseconds, stop) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    stop.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
