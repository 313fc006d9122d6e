/**
 * A transport with which a test plays the gateway: `rowcast/mock`.
 *
 * - By hand: `await gateway.next()`, then `ready()`, `refuse(401)`, `cut()` of the request.
 * - With `rows` it answers by itself: it accepts, sends these rows as snapshots, and after a cut what was missed.
 *   `insert`, `update` and `remove` change them. It knows neither users nor filters: every listener of a stream gets all of its rows.
 */

import { MockRequest } from "./mock/request.js";
import { createNames, nameOf } from "./name.js";
import type { EventNames, Names } from "./name.js";
import type { Change, Handlers, OpenRequest, Row, Transport } from "./types.js";

export { MockRequest } from "./mock/request.js";
export type { ReadyOptions } from "./mock/request.js";

export interface MockOptions {
  /** Rows by stream. With them, even with `{}`, requests are answered without the test. */
  readonly rows?: Readonly<Record<string, readonly Row[]>>;
  /** The column, or columns, that tell rows apart; `id` where nothing is said. */
  readonly key?: string | readonly string[];
  /** As the client's option. */
  readonly events?: EventNames;
}

export interface ChangeOptions {
  /** The table, where it is not called as the stream is. */
  readonly table?: string;
  /** On `remove`: the row is somebody else's now. */
  readonly left?: boolean;
  /** A place of one's own in the log. */
  readonly id?: string;
}

interface Logged {
  readonly id: string;
  readonly stream: string;
  readonly name: string;
  readonly data: Change;
}

export class MockGateway implements Transport {
  readonly seesHeartbeats = true;
  /** All requests that ever came, in order. */
  readonly requests: MockRequest[] = [];
  /** The newer tokens that were sent for open streams. */
  readonly posts: { readonly url: string; readonly token: string }[] = [];
  /** What such a POST is answered with. */
  postStatus = 204;
  /** One life of the log; set another one to play a restored database. */
  epoch = "mock";
  position = 0;

  private readonly rows: Map<string, Map<string, Row>> | null;
  private readonly names: Names;
  private readonly log: Logged[] = [];
  private readonly waiting: ((request: MockRequest) => void)[] = [];
  private taken = 0;

  constructor(private readonly options: MockOptions = {}) {
    this.names = createNames(options.events);
    const keyed = (rows: readonly Row[]): Map<string, Row> => new Map(rows.map((row) => [this.keyOf(row), row]));
    this.rows = options.rows ? new Map(Object.entries(options.rows).map(([stream, rows]) => [stream, keyed(rows)])) : null;
  }

  /** The id of now. */
  get id(): string {
    return `${this.epoch}-${this.position}`;
  }

  /** The requests that are not over, oldest first. */
  get active(): readonly MockRequest[] {
    return this.requests.filter(({ state }) => state === "waiting" || state === "open");
  }

  /** The client's one connection: the newest request that is not over and wants no snapshot. Throws where there is none. */
  get main(): MockRequest {
    const main = this.active.filter(({ snapshot }) => !snapshot).at(-1);
    if (!main) throw new Error("there is no connection: a client opens one in the next macrotask after somebody listens");
    return main;
  }

  /** The newest request for a stream's rows that is not over. Throws where there is none. */
  snapshotOf(stream: string): MockRequest {
    const found = this.active.filter(({ snapshot, streams }) => snapshot && streams.includes(stream)).at(-1);
    if (!found) throw new Error(`nobody asks for the rows of ${stream}: a table does when the connection is ready`);
    return found;
  }

  /** Resolves with the first request that was not returned yet. */
  next(): Promise<MockRequest> {
    const request = this.requests[this.taken];
    if (request === undefined) return new Promise((resolve) => this.waiting.push(resolve));
    this.taken += 1;
    return Promise.resolve(request);
  }

  /** A row comes to a stream: everybody who listens is told. Returns the event's id. */
  insert(stream: string, record: Row, options: ChangeOptions = {}): string {
    return this.tell(stream, "INSERT", record, null, options);
  }

  /** A row changes. The old one is what the mock knows of it, where it is not given. */
  update(stream: string, record: Row, old?: Row, options: ChangeOptions = {}): string {
    return this.tell(stream, "UPDATE", record, old ?? this.rows?.get(stream)?.get(this.keyOf(record)) ?? record, options);
  }

  /** A row goes; its key is enough. */
  remove(stream: string, old: Row, options: ChangeOptions = {}): string {
    return this.tell(stream, "DELETE", null, old, options);
  }

  open(request: OpenRequest, handlers: Handlers): { close(): void } {
    const made = new MockRequest(request, handlers, () => this.id);
    this.requests.push(made);
    const waits = this.waiting.shift();
    if (waits) {
      this.taken += 1;
      waits(made);
    }
    if (this.rows) queueMicrotask(() => this.answer(made));
    return {
      close() {
        if (made.state !== "ended") made.state = "closed";
      },
    };
  }

  post(url: string, token: string): Promise<number> {
    this.posts.push({ url, token });
    return Promise.resolve(this.postStatus);
  }

  private answer(request: MockRequest): void {
    if (request.state !== "waiting") return;
    if (request.snapshot) {
      request.rows([...(this.rows?.get(request.streams[0] ?? "")?.values() ?? [])]);
      return;
    }
    const missed = this.log.findIndex(({ id }) => id === request.lastEventId) + 1;
    request.ready();
    for (const { id, stream, name, data } of request.lastEventId === null ? [] : this.log.slice(missed)) {
      if (request.isOpen && request.streams.includes(stream)) request.send(name, data, id);
    }
  }

  private tell(stream: string, type: Change["type"], record: Row | null, old: Row | null, options: ChangeOptions): string {
    if (options.id === undefined) this.position += 1;
    const id = options.id ?? this.id;
    const data: Change = {
      version: 1,
      type,
      schema: "public",
      table: options.table ?? stream.replaceAll("-", "_"),
      commit_timestamp: new Date().toISOString(),
      record,
      old_record: old,
      columns: Object.entries(record ?? old ?? {}).map(([name, value]) => ({ name, type: TYPES[typeof value] ?? "text" })),
      ...(options.left ? { left: true } : {}),
    };
    const name = nameOf(this.names, stream, type, this.names.of(stream)[0] ?? stream);
    this.log.push({ id, stream, name, data });
    this.keep(stream, record, old);
    for (const request of this.active) {
      if (request.isOpen && !request.snapshot && request.streams.includes(stream)) request.send(name, data, id);
    }
    return id;
  }

  private keep(stream: string, record: Row | null, old: Row | null): void {
    if (this.rows === null) return;
    const rows = this.rows.get(stream) ?? new Map<string, Row>();
    this.rows.set(stream, rows);
    if (old) rows.delete(this.keyOf(old));
    if (record) rows.set(this.keyOf(record), record);
  }

  private keyOf(row: Row): string {
    return JSON.stringify([this.options.key ?? "id"].flat().map((column) => row[column]));
  }
}

const TYPES: Readonly<Record<string, string>> = { number: "numeric", boolean: "bool" };

/** Makes a transport for tests: `createRealtimeClient({ url: "http://mock", transport: mockTransport() })`. */
export function mockTransport(options: MockOptions = {}): MockGateway {
  return new MockGateway(options);
}
