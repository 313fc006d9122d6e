/** A real server of event streams, which the test answers for. */

import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import { onTestFinished } from "vitest";

export interface Arrived {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

export interface Server {
  readonly url: string;
  /** Resolves with the next request. */
  next(): Promise<Arrived>;
}

/** Starts a server; it ends with the test. */
export async function serve(): Promise<Server> {
  const arrived: Arrived[] = [];
  const waiting: ((arrived: Arrived) => void)[] = [];
  const server = createServer((request, response) => {
    const waits = waiting.shift();
    if (waits) waits({ request, response });
    else arrived.push({ request, response });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    next: () => {
      const found = arrived.shift();
      return found ? Promise.resolve(found) : new Promise((resolve) => waiting.push(resolve));
    },
  };
}

/** Begins a stream as the gateway does. */
export function begin(response: ServerResponse): void {
  response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store" });
  response.flushHeaders();
}

/** An event's text. */
export function frame(event: string, data: unknown, id = "real-1", retry?: number): string {
  return `${retry === undefined ? "" : `retry: ${retry}\n`}id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** A row as the gateway sends it. */
export function inserted(record: Record<string, unknown>): Record<string, unknown> {
  return { version: 1, type: "INSERT", schema: "public", table: "bookings", commit_timestamp: "2026-05-04T13:31:37Z", record, old_record: null, columns: [] };
}

export const READY = { status: "fresh", streams: ["bookings"], connection: "c1", from: "real-0", heartbeat: 8 };
