import { afterEach, expect, it, vi } from "vitest";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.doUnmock("../src/judge.js");
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
