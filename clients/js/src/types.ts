/**
 * What the package is about: states, events, requests. No code.
 *
 * - An id is a place in the gateway's log: `<epoch>-<position>`. Within one epoch positions only grow.
 * - Whatever comes from the network is checked before it has one of these types.
 */

/** `CONNECTED` only after the gateway's `ready`; `RECONNECTING` only after having been `CONNECTED`. */
export type Status = "CONNECTING" | "CONNECTED" | "RECONNECTING" | "DISCONNECTED";

/** Why something is not as it should be; `code` is for programs, `message` for people, and neither has a secret in it. */
export interface RealtimeError extends Error {
  readonly code:
    | "unauthorized" // 401, after one renewal; or `closed` for an expired or revoked token
    | "forbidden" // 403, or `closed` because a right is gone
    | "bad-request" // another 4xx: the request itself is wrong, and coming back is useless
    | "unavailable" // network, 429, 5xx: it comes back by itself
    | "malformed" // an event that is none, or a row without its key; it was skipped
    | "listener"; // an application's own callback has thrown
  /** The response's status, where there was one; 401 also where `getToken` had no token. */
  readonly status?: number;
}

/** A row as it comes in JSON. */
export type Row = Record<string, unknown>;

/** The `raw` format, which the client always asks for. */
export interface Change<T = Row> {
  readonly version: number;
  readonly type: "INSERT" | "UPDATE" | "DELETE";
  readonly schema: string;
  readonly table: string;
  readonly commit_timestamp: string;
  readonly record: T | null;
  readonly old_record: Partial<T> | null;
  readonly columns: readonly { readonly name: string; readonly type: string }[];
  /**
   * On a DELETE: the row is still there, but no longer the listener's, or no longer passes the filter. What the gateway says has the key only;
   * where the client has judged, `old_record` is the whole row as it was.
   */
  readonly left?: boolean;
  /** The row was too large: what is there in its place is its key. A table's row keeps the columns that it had, which may be old by now, or has the key alone. */
  readonly truncated?: boolean;
}

/** One event of a stream. */
export interface RealtimeEvent<T = Row> {
  readonly id: string;
  /** The event's name: the stream's, except for `properties` (`property-created`, …) and `property-alerts` (`property-alert`). */
  readonly name: string;
  readonly stream: string;
  readonly change: Change<T>;
}

/** On `system`: what the gateway says of a part of itself. It is no change of a row, and not repeated after a reconnect. */
export interface ComponentState {
  readonly component: string;
  readonly status: "up" | "down";
  readonly since: string;
}

/** What a transport is asked to open. `lastEventId` null begins now. */
export interface OpenRequest {
  readonly url: string;
  readonly token: string | null;
  readonly lastEventId: string | null;
  /** The names of the events that may come: EventSource hears no others. */
  readonly events: readonly string[];
}

/** A message as it came: `data` is text. */
export interface Message {
  readonly id: string;
  readonly event: string;
  readonly data: string;
}

/** Told by a transport, in this order: opened once or never, then messages and signs of life, then ended once. */
export interface Handlers {
  onOpen(): void;
  onMessage(message: Message): void;
  /** Bytes have come, whatever they are: heartbeats too. EventSource cannot see those. */
  onAlive(): void;
  /** `status` is that of a refusal, `retryMs` what its `Retry-After` or the last `retry:` says. Not called after `close`. */
  onEnd(end: { status?: number; detail?: string; retryMs?: number }): void;
}

/** A way to open a stream. `post` sends a newer token for one that is open, and returns the response's status. */
export interface Transport {
  /** Whether heartbeats can be seen: without them there is no watchdog. */
  readonly seesHeartbeats: boolean;
  open(request: OpenRequest, handlers: Handlers): { close(): void };
  post(url: string, token: string): Promise<number>;
}

export interface BackoffOptions {
  readonly initialMs: number;
  readonly maxMs: number;
  /** 0.5 spreads each pause over half of it to all of it. */
  readonly jitter: number;
}

export interface ClientOptions {
  /** The gateway, without a path of ours: `https://rowcast.example`, or `/rowcast` behind the page's own server. */
  readonly url: string;
  /**
   * Returns a token for `Authorization: Bearer`. `renew` is true where the last one was refused, was none, or ends soon; null a second time is
   * `unauthorized`, and nothing is asked for. Without this function cookies are sent.
   */
  readonly getToken?: (why: { renew: boolean }) => string | null | Promise<string | null>;
  /** `fetch` where there is a token, `eventsource` with cookies alone, or one of your own, as the mock is. */
  readonly transport?: "fetch" | "eventsource" | Transport;
  /** The names of a stream's events where they are not called as it is, in the order of INSERT, UPDATE, DELETE: `{ documents: ["document-shared", …] }`. */
  readonly events?: Readonly<Record<string, readonly string[]>>;
  /** One connection for all tabs of this origin; a text tells apart those of different users. */
  readonly tabs?: boolean | string;
  /**
   * Under which name the last id outlives the page, in `localStorage`; nothing is kept without one. Each set of streams has a name of its own,
   * and each tab, unless they share the connection.
   */
  readonly resume?: string;
  readonly backoff?: Partial<BackoffOptions>;
  /**
   * After so long without a byte the connection is taken for dead; three heartbeats where nothing is said. EventSource sees events alone, of
   * which checkpoints come every two minutes: there it is five minutes.
   */
  readonly heartbeatTimeoutMs?: number;
  /** Lets go of the connection while the page cannot be seen. */
  readonly pauseWhenHidden?: boolean;
  /** Told of everything that went wrong and was dealt with; the console's `warn` where nothing is said. */
  readonly onError?: (error: RealtimeError) => void;
}

export interface ListenOptions<T = Row> {
  /** PostgREST's syntax, several joined by `&`: `status=eq.pending&price=lt.100`. */
  readonly filter?: string;
  readonly onEvent: (event: RealtimeEvent<T>) => void;
  /** History cannot be completed: what was known of the rows is to be fetched anew. */
  readonly onReset?: (reason: string) => void;
  /** The connection has this stream now: nothing that happens from here on is missed. Called again after each reconnect. */
  readonly onReady?: () => void;
  /** A part of the gateway goes down or comes up: on `system`. No filter concerns it. */
  readonly onComponent?: (state: ComponentState) => void;
}

export interface TableOptions<T = Row> {
  readonly filter?: string;
  /** The column, or columns, that tell rows apart; `id` where nothing is said. Rows that lack one are reported, and not shown. */
  readonly key?: keyof T & string | readonly (keyof T & string)[];
  /** Orders the rows; by key where nothing is said. */
  readonly compare?: (a: T, b: T) => number;
  /** Rows to begin with, for pages that were rendered on a server: then `loading` is false at once. */
  readonly initial?: readonly T[];
  /** Fetches the rows in another way than the gateway's `snapshot=1`. */
  readonly fetchSnapshot?: () => Promise<readonly T[]>;
  readonly onChange?: (event: RealtimeEvent<T>) => void;
  /** Whose rows they are, or what else tells apart two stores that are otherwise alike. */
  readonly scope?: string;
}

/** The same object as long as nothing has changed, as `useSyncExternalStore` wants it. */
export interface TableState<T = Row> {
  readonly rows: readonly T[];
  /** Until the rows are there for the first time. */
  readonly loading: boolean;
  readonly error: RealtimeError | null;
  readonly status: Status;
  readonly lastEventId: string | null;
}

/** Rows that keep up with the table: a snapshot, then each change. It works while somebody has subscribed. */
export interface TableStore<T = Row> {
  readonly state: TableState<T>;
  /** What a server renders: the initial rows. */
  readonly serverState: TableState<T>;
  /** Returns how to stop. Who comes back within a second finds everything as it was. */
  subscribe(listener: () => void): () => void;
}

export interface RealtimeClient {
  readonly status: Status;
  readonly error: RealtimeError | null;
  readonly lastEventId: string | null;
  /** Called when the status or the error has changed. Returns how to stop. */
  onStatus(listener: (status: Status, error: RealtimeError | null) => void): () => void;
  /** Listens to one stream, from now on. Returns how to stop. */
  listen<T = Row>(stream: string, options: ListenOptions<T>): () => void;
  /** Listens to one kind of event, as with socket.io; `stream` where it cannot be told from the name. Returns how to stop. */
  on<T = Row>(
    name: string,
    listener: (data: Change<T>, event: RealtimeEvent<T>) => void,
    options?: { readonly stream?: string } & Pick<ListenOptions, "filter" | "onReset">,
  ): () => void;
  /** Returns the rows of a stream; the same store, with the options of the first call, for the same stream, filter, key and scope. */
  table<T = Row>(stream: string, options?: TableOptions<T>): TableStore<T>;
  /** For those who come from supabase-js. */
  channel(name: string): RealtimeChannel;
  /** Comes back at once, also from `DISCONNECTED`, and with another token. Tables that are asked for from then on begin without rows. */
  reconnect(): void;
  /** Ends everything; nothing comes after it until `reconnect`. */
  close(): void;
}

/** What realtime-js hands to its callback. */
export interface PostgresChange<T = Row> {
  readonly schema: string;
  readonly table: string;
  readonly commit_timestamp: string;
  readonly eventType: "INSERT" | "UPDATE" | "DELETE";
  readonly new: T | Record<string, never>;
  readonly old: Partial<T>;
  readonly errors: null;
}

export interface PostgresChangesFilter {
  readonly event: "*" | "INSERT" | "UPDATE" | "DELETE";
  readonly schema?: string;
  /** The stream's name, where it is not that of the channel: `bookings`. */
  readonly table?: string;
  readonly filter?: string;
}

export interface RealtimeChannel {
  on<T = Row>(type: "postgres_changes", filter: PostgresChangesFilter, callback: (payload: PostgresChange<T>) => void): RealtimeChannel;
  subscribe(callback?: (status: "SUBSCRIBED" | "TIMED_OUT" | "CLOSED" | "CHANNEL_ERROR", error?: Error) => void): RealtimeChannel;
  unsubscribe(): void;
}
