/** A stream from a real server, opened by a transport alone or by a whole client; it ends with its test. */

import { onTestFinished } from "vitest";

import { createRealtimeClient } from "../src/index.js";
import type { ClientOptions, Message, OpenRequest, RealtimeClient, RealtimeEvent, Transport } from "../src/types.js";

export type End = { status?: number; detail?: string; retryMs?: number };

/** Opens a stream, and keeps what it says. */
export function open(transport: Transport, url: string, more: Partial<OpenRequest> = {}) {
  const said = { opened: 0, alive: 0, messages: [] as Message[], ends: [] as End[] };
  const handle = transport.open(
    { url: `${url}/streams/bookings?format=raw`, token: null, lastEventId: null, events: ["bookings"], ...more },
    {
      onOpen: () => (said.opened += 1),
      onAlive: () => (said.alive += 1),
      onMessage: (message) => said.messages.push(message),
      onEnd: (end) => said.ends.push(end),
    },
  );
  onTestFinished(() => handle.close());
  return { said, handle };
}

/** Makes a client that listens to bookings, and keeps what it is told. */
export function client(url: string, options: Partial<ClientOptions> = {}): { client: RealtimeClient; events: RealtimeEvent[] } {
  const made = createRealtimeClient({ url, backoff: { initialMs: 10, maxMs: 20 }, onError: () => undefined, ...options });
  onTestFinished(() => made.close());
  const events: RealtimeEvent[] = [];
  made.listen("bookings", { onEvent: (event) => events.push(event) });
  return { client: made, events };
}
