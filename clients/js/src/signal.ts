/** What the connection says to the client, and what the client wants of it. */

import { conditions } from "./condition.js";
import type { ComponentState, RealtimeError, RealtimeEvent, Status } from "./types.js";

/** Streams with the filter of each; an empty one is none. */
export type Wants = Readonly<Record<string, string>>;

/** Who is told. An id is where the connection is then. */
export interface Sink {
  /** `has` is what the connection carries; null while there is none. */
  state(status: Exclude<Status, "RECONNECTING">, error: RealtimeError | null, has: Wants | null, id?: string | null): void;
  event(event: RealtimeEvent): void;
  component(stream: string, state: ComponentState): void;
  /** `streams` null is all of them; without an id it stays as it is. */
  reset(reason: string, streams: readonly string[] | null, id?: string): void;
  move(id: string): void;
  /** Where to go on from. */
  lastId(): string | null;
}

/** Where it comes from: a connection of one's own, or of another tab. */
export interface Feed {
  want(wants: Wants): void;
  reconnect(): void;
  close(): void;
}

/** Adds up what several want: a stream that is wanted through different filters is wanted whole. */
export function united(all: Iterable<Wants>): Wants {
  const sum: Record<string, string> = {};
  for (const wants of all) for (const stream in wants) sum[stream] = ((sum[stream] ?? wants[stream]) === wants[stream] && wants[stream]) || "";
  return sum;
}

/** Returns the request for streams, behind the gateway's address. */
export function pathOf(wants: Wants, snapshot = false): string {
  const streams = Object.keys(wants).sort();
  const query = new URLSearchParams({ format: "raw", ...(snapshot && { snapshot: "1" }) });
  for (const stream of streams) for (const [column, test] of conditions(wants[stream] ?? "")) query.append(`${stream}.${column}`, test);
  return `/streams/${streams.map(encodeURIComponent).join()}?${query}`;
}
