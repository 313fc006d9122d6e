/** Tabs of one browser, each with a client, and one gateway for all of them. Whoever imports it has a fresh browser for each test. */

import { afterEach, beforeEach, vi } from "vitest";

import { mockTransport } from "../src/mock.js";
import type { MockGateway } from "../src/mock.js";
import type { ClientOptions } from "../src/types.js";
import { FakeChannel, FakeLocks } from "./locks.js";
import { listen, loaded, pass, setup } from "./support.js";

export let locks: FakeLocks;
/** One for all tabs, as the gateway is. */
export let gateway: MockGateway;

beforeEach(() => {
  vi.useFakeTimers();
  locks = new FakeLocks();
  gateway = mockTransport();
  FakeChannel.all = [];
  FakeChannel.sent = [];
  FakeChannel.lost = () => false;
  vi.stubGlobal("BroadcastChannel", FakeChannel);
  vi.stubGlobal("navigator", { locks });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Opens a tab that listens. */
export async function tab(stream = "bookings", filter?: string, options: Partial<ClientOptions> = {}) {
  const { client, errors, statuses } = setup({ tabs: true, transport: gateway, ...options });
  const told = listen(client, stream, filter);
  await loaded();
  await pass(50);
  return { client, errors, statuses, told, channel: FakeChannel.all.at(-1) as FakeChannel };
}

export type Opened = Awaited<ReturnType<typeof tab>>;

/** Ends a tab as a crash does: it says nothing more, and its locks are free. */
export async function kill({ client, channel }: Opened, request = gateway.active[0]): Promise<void> {
  FakeChannel.all = FakeChannel.all.filter((each) => each !== channel);
  FakeChannel.lost = (_data, to) => to === channel;
  request?.cut();
  client.close();
  await pass(50);
}
