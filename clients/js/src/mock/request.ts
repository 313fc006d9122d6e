/**
 * One request as the test sees it, which plays the gateway's side of it.
 *
 * - Everything happens at once, within the call: there is no time in between, and nothing to wait for.
 * - What the gateway would not do is an error here: a second answer, or an event before `ready`.
 */

import type { Handlers, OpenRequest, Row } from "../types.js";

export interface ReadyOptions {
  /** `resumed` where the request came with an id, else `fresh`. */
  readonly status?: "fresh" | "resumed" | "reset";
  readonly connection?: string;
  /** Seconds between two heartbeats. */
  readonly heartbeat?: number;
  readonly expiresAt?: string;
  readonly id?: string;
}

export class MockRequest {
  readonly url: URL;
  readonly streams: readonly string[];
  /** Whether it asks for the rows of now. */
  readonly snapshot: boolean;
  readonly token: string | null;
  readonly lastEventId: string | null;
  /** What became of it: it waits for an answer, is open, was ended by the gateway, or closed by the client. */
  state: "waiting" | "open" | "ended" | "closed" = "waiting";

  constructor(
    request: OpenRequest,
    private readonly handlers: Handlers,
    /** The id of now. */
    private readonly now: () => string,
  ) {
    this.url = new URL(request.url, "http://mock");
    this.streams = decodeURIComponent(this.url.pathname.split("/").at(-1) ?? "").split(",");
    this.snapshot = this.url.searchParams.get("snapshot") === "1";
    this.token = request.token;
    this.lastEventId = request.lastEventId;
  }

  get isOpen(): boolean {
    return this.state === "open";
  }

  /** The conditions on a stream: `["status=eq.pending"]`. */
  filter(stream: string): string[] {
    const conditions = [...this.url.searchParams].filter(([name]) => name.startsWith(`${stream}.`));
    return conditions.map(([name, value]) => `${name.slice(stream.length + 1)}=${value}`);
  }

  /** Accepts: the client is CONNECTED. */
  ready(options: ReadyOptions = {}): this {
    this.accept();
    const id = options.id ?? (this.snapshot ? "none-0" : (this.lastEventId ?? this.now()));
    const status = options.status ?? (this.lastEventId === null ? "fresh" : "resumed");
    return this.send(
      "ready",
      {
        status,
        streams: this.streams,
        connection: options.connection ?? "c0ffee00c0ffee00",
        from: id,
        expires_at: options.expiresAt ?? "2100-01-01T00:00:00Z",
        heartbeat: options.heartbeat ?? 8,
      },
      id,
    );
  }

  /** Opens the response without `ready`. */
  accept(): this {
    if (this.state !== "waiting") throw new Error(`the request is ${this.state} already`);
    this.state = "open";
    this.handlers.onOpen();
    return this;
  }

  /** Sends whatever it is: `data` that is text goes as it is, everything else as JSON. */
  send(event: string, data: unknown, id = this.now()): this {
    if (this.state !== "open") throw new Error(`the request is ${this.state}, and not open: ready() comes first`);
    this.handlers.onAlive();
    this.handlers.onMessage({ id, event, data: typeof data === "string" ? data : JSON.stringify(data) });
    return this;
  }

  /** Answers a request for a snapshot: `ready`, all rows, and the end that the client waits for. */
  rows(rows: readonly Row[], id = this.now()): this {
    if (this.state === "waiting") this.ready();
    return this.page(rows, true, id);
  }

  /** Sends one page of a snapshot. */
  page(rows: readonly Row[], done: boolean, id = done ? this.now() : "none-0"): this {
    return this.send("snapshot", { stream: this.streams[0], rows, done }, id);
  }

  /** Says that history cannot be completed. */
  reset(reason = "retention", id = this.now()): this {
    return this.send("reset", { reason, streams: this.streams }, id);
  }

  checkpoint(id = this.now()): this {
    return this.send("checkpoint", { position: Number(id.split("-")[1]) }, id);
  }

  /** Says that the token ends in a minute. */
  expiring(): this {
    return this.send("auth-expiring", { expires_at: "2100-01-01T00:00:00Z" });
  }

  /** Ends the stream, and asks the client to come back after so many milliseconds. */
  reconnect(reason = "shutdown", retry = 1000): this {
    return this.send("reconnect", { reason, retry }).cut();
  }

  /** Ends the stream for good. */
  closed(reason: "expired" | "revoked" | "forbidden"): this {
    return this.send("closed", { reason }).cut();
  }

  /** A byte, and no event. */
  heartbeat(): this {
    this.handlers.onAlive();
    return this;
  }

  /** Answers with a status instead of a stream. */
  refuse(status: number, options: { readonly detail?: string; readonly retryMs?: number } = {}): this {
    if (this.state !== "waiting") throw new Error(`the request is ${this.state} already`);
    return this.end({ status, ...options });
  }

  /** Ends the stream without a word, as a lost connection does. */
  cut(retryMs?: number): this {
    return this.end(retryMs === undefined ? {} : { retryMs });
  }

  private end(end: Parameters<Handlers["onEnd"]>[0]): this {
    // A client that has read `reconnect` or `closed` has closed by itself.
    if (this.state === "waiting" || this.state === "open") {
      this.state = "ended";
      this.handlers.onEnd(end);
    }
    return this;
  }
}
