/** A client whose gateway is the test, on a clock that the test winds. */

import { onTestFinished, vi } from "vitest";

import { createRealtimeClient } from "../src/index.js";
import { mockTransport } from "../src/mock.js";
import type { MockGateway, MockOptions, MockRequest } from "../src/mock.js";
import type { ClientOptions, RealtimeClient, RealtimeError, RealtimeEvent, Row, Status } from "../src/types.js";

export interface Setup {
  readonly client: RealtimeClient;
  readonly gateway: MockGateway;
  readonly errors: RealtimeError[];
  readonly statuses: Status[];
}

/** Makes a client with a mock; it is closed after the test. Nothing is left to chance in its pauses. */
export function setup(options: Partial<ClientOptions> = {}, mock?: MockOptions): Setup {
  const gateway = mockTransport(mock);
  const errors: RealtimeError[] = [];
  const statuses: Status[] = [];
  const client = createRealtimeClient({
    url: "http://mock/",
    transport: gateway,
    getToken: () => "token",
    backoff: { initialMs: 1000, maxMs: 8000, jitter: 0 },
    onError: (error) => errors.push(error),
    ...options,
  });
  client.onStatus((status) => statuses.push(status));
  onTestFinished(() => client.close());
  return { client, gateway, errors, statuses };
}

/** Lets time pass. */
export async function pass(ms = 0): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

/** Waits for a part that is loaded later. */
export async function loaded(): Promise<void> {
  await pass();
  await vi.dynamicImportSettled();
  await pass();
}

/** Listens, and keeps what is told. */
export function listen(client: RealtimeClient, stream = "bookings", filter?: string) {
  const told = { events: [] as RealtimeEvent[], resets: [] as string[], ready: 0, stop: () => undefined as void };
  told.stop = client.listen<Row>(stream, {
    ...(filter === undefined ? {} : { filter }),
    onEvent: (event) => told.events.push(event),
    onReset: (reason) => told.resets.push(reason),
    onReady: () => (told.ready += 1),
  });
  return told;
}

/** A client that listens to `bookings` and is connected. */
export async function connected(options: Partial<ClientOptions> = {}): Promise<Setup & { told: ReturnType<typeof listen>; main: MockRequest }> {
  const made = setup(options);
  const told = listen(made.client);
  await pass();
  const main = made.gateway.main.ready();
  return { ...made, told, main };
}

/** Returns the ids of events. */
export function ids(events: readonly RealtimeEvent[]): string[] {
  return events.map(({ id }) => id);
}

/** A change as the gateway sends it. */
export function row(id: number) {
  return { version: 1, type: "INSERT", schema: "public", table: "t", commit_timestamp: "2026-05-04T13:31:37Z", record: { id }, old_record: null, columns: [] };
}
