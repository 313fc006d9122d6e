import { afterEach, expect, it, vi } from "vitest";

import type { ListenOptions, RealtimeClient } from "../src/types.js";
import { FakeChannel, FakeLocks } from "./locks.js";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.doUnmock("../src/judge.js");
  vi.doUnmock("../src/channel.js");
  vi.resetModules();
});

it("does nothing when it is imported, and when a client is made, on a server without a browser's objects", async () => {
  for (const name of ["BroadcastChannel", "EventSource", "localStorage", "document", "window", "navigator"]) vi.stubGlobal(name, undefined);
  const timers = [vi.spyOn(globalThis, "setTimeout"), vi.spyOn(globalThis, "setInterval"), vi.spyOn(globalThis, "fetch")];
  vi.resetModules();
  const { createRealtimeClient } = await import("../src/client.js");
  const client = createRealtimeClient({ url: "/rowcast", tabs: true, resume: "user-1", pauseWhenHidden: true });
  const store = client.table("bookings", { initial: [{ id: 1 }] });
  expect(store.serverState.rows).toEqual([{ id: 1 }]);
  expect(client.status).toBe("DISCONNECTED");
  for (const spy of timers) expect(spy).not.toHaveBeenCalled();
  client.close();
});

it("listens on a server too, where somebody asks for it", async () => {
  const { createRealtimeClient } = await import("../src/index.js");
  const { mockTransport } = await import("../src/mock.js");
  const gateway = mockTransport();
  const client = createRealtimeClient({ url: "http://mock", transport: gateway, tabs: true, resume: "user-1", pauseWhenHidden: true });
  client.listen("bookings", { onEvent: () => undefined });
  (await gateway.next()).ready();
  expect(client.status).toBe("CONNECTED");
  client.close();
});

it("tries again where a part cannot be loaded", async () => {
  let fails = true;
  vi.doMock("../src/judge.js", async (original) => {
    if (fails) throw new Error("no such file any more");
    return original();
  });
  vi.resetModules();
  const { createRealtimeClient } = await import("../src/client.js");
  const { mockTransport } = await import("../src/mock.js");
  const gateway = mockTransport();
  const errors: string[] = [];
  const client = createRealtimeClient({ url: "http://mock", transport: gateway, onError: ({ message }) => errors.push(message) });
  client.listen("bookings", { filter: "a=eq.1", onEvent: () => undefined });
  client.listen("bookings", { filter: "a=eq.2", onEvent: () => undefined });
  await vi.waitFor(() => expect(errors).toEqual(["a part was not loaded"]));
  const pauses = vi.spyOn(globalThis, "setTimeout");
  const longest = (): number => Math.max(...pauses.mock.calls.map(([, ms]) => ms ?? 0));
  await vi.waitFor(() => expect(errors).toHaveLength(3), 10_000);
  // Half of the third pause, at least.
  expect(longest()).toBeGreaterThanOrEqual(2000);
  fails = false;
  vi.doUnmock("../src/judge.js");
  await vi.waitFor(() => expect(gateway.active).toHaveLength(1), 10_000);
  client.close();
});

it("joins no other tab before there is what judges by its filter", async () => {
  vi.stubGlobal("BroadcastChannel", FakeChannel);
  vi.stubGlobal("navigator", { locks: new FakeLocks() });
  const { mockTransport } = await import("../src/mock.js");
  const gateway = mockTransport();
  const onError = vi.fn();
  const onEvent = vi.fn();
  const open = async (options: ListenOptions): Promise<RealtimeClient> => {
    vi.resetModules();
    const { createRealtimeClient } = await import("../src/client.js");
    const client = createRealtimeClient({ url: "http://mock", transport: gateway, tabs: true, onError });
    client.listen("bookings", options);
    return client;
  };
  const one = await open({ onEvent: () => undefined });
  await vi.waitFor(() => expect(gateway.active).toHaveLength(1));
  gateway.main.ready();
  let fails = true;
  vi.doMock("../src/judge.js", async (original) => {
    if (fails) throw new Error("no such file any more");
    return original();
  });
  const two = await open({ filter: "status=eq.pending", onEvent });
  await vi.waitFor(() => expect(onError).toHaveBeenCalledTimes(1));
  fails = false;
  vi.doUnmock("../src/judge.js");
  await vi.waitFor(() => expect(two.status).toBe("CONNECTED"), 10_000);
  gateway.insert("bookings", { id: 1, status: "pending" });
  await vi.waitFor(() => expect(onEvent).toHaveBeenCalledTimes(1));
  one.close();
  two.close();
});

it("tries again where a channel's part cannot be loaded, until it is no longer wanted", async () => {
  let fails = true;
  vi.doMock("../src/channel.js", async (original) => {
    if (fails) throw new Error("no such file any more");
    return original();
  });
  vi.resetModules();
  const { createRealtimeClient } = await import("../src/client.js");
  const { mockTransport } = await import("../src/mock.js");
  const gateway = mockTransport();
  const client = createRealtimeClient({ url: "http://mock", transport: gateway });
  const said: string[] = [];
  const other: string[] = [];
  const unwanted = client.channel("services").on("postgres_changes", { event: "*" }, () => undefined);
  unwanted.subscribe((status) => other.push(status));
  await vi.waitFor(() => expect(other).toEqual(["CHANNEL_ERROR"]));
  unwanted.unsubscribe();
  const channel = client.channel("bookings").on("postgres_changes", { event: "*" }, () => undefined);
  channel.subscribe((status) => said.push(status));
  await vi.waitFor(() => expect(said).toEqual(["CHANNEL_ERROR"]));
  fails = false;
  vi.doUnmock("../src/channel.js");
  await vi.waitFor(() => expect(gateway.active).toHaveLength(1), 10_000);
  gateway.main.ready();
  expect(gateway.main.streams).toEqual(["bookings"]);
  expect([said, other]).toEqual([["CHANNEL_ERROR", "SUBSCRIBED"], ["CHANNEL_ERROR"]]);
  client.close();
});
