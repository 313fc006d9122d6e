/** A client whose gateway the test plays, and components that use it. */

import { createElement, StrictMode } from "react";
import type { FunctionComponent, ReactNode } from "react";
import { onTestFinished } from "vitest";

import { createRealtimeClient } from "../../src/index.js";
import { mockTransport } from "../../src/mock.js";
import type { MockGateway, MockOptions, MockRequest } from "../../src/mock.js";
import { RealtimeProvider } from "../../src/react/index.js";
import type { ClientOptions, RealtimeClient, Row } from "../../src/types.js";

export interface Setting {
  readonly gateway: MockGateway;
  readonly client: RealtimeClient;
  readonly wrapper: FunctionComponent<{ children: ReactNode }>;
  readonly strict: FunctionComponent<{ children: ReactNode }>;
}

/** Makes a client and what puts it around a hook; the gateway answers by itself where it is given rows. */
export function setting(mock: MockOptions = {}, options: Partial<ClientOptions> = {}): Setting {
  const gateway = mockTransport(mock);
  const client = createRealtimeClient({ url: "http://mock", transport: gateway, onError: () => undefined, ...options });
  onTestFinished(() => client.close());
  const wrapper = ({ children }: { children: ReactNode }) => createElement(RealtimeProvider, { client }, children);
  const strict = ({ children }: { children: ReactNode }) => createElement(StrictMode, null, wrapper({ children }));
  return { gateway, client, wrapper, strict };
}

/** The requests that a gateway has got for its live streams, and those for rows. */
export function mains(gateway: MockGateway): MockRequest[] {
  return gateway.requests.filter((request) => !request.snapshot);
}

export function snapshots(gateway: MockGateway): MockRequest[] {
  return gateway.requests.filter((request) => request.snapshot);
}

/** Lets everything happen that is due now: macrotasks in which a client opens its connection. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setTimeout(resolve, 0));
}

export function booking(id: number, status = "pending", customer = 1): Row {
  return { id, customer_id: customer, status };
}

export const ids = (rows: readonly unknown[]): unknown[] => rows.map((row) => (row as Row)["id"]);
