import { describe, expect, it, vi } from "vitest";

import { createRealtimeClient } from "../src/index.js";
import { mockTransport } from "../src/mock.js";
import { listen, setup } from "./support.js";

describe("by hand", () => {
  it("hands out requests in the order in which they come, also to who waits", async () => {
    const { client, gateway } = setup();
    const soon = gateway.next();
    listen(client);
    const first = await soon;
    expect(first).toMatchObject({ streams: ["bookings"], token: "token", lastEventId: null, snapshot: false, state: "waiting" });
    listen(client, "services");
    const second = await gateway.next();
    expect(second.streams).toEqual(["bookings", "services"]);
    expect(first.state).toBe("closed");
  });

  it("says what a test has got wrong", async () => {
    const { client, gateway } = setup();
    expect(() => gateway.main).toThrow("no connection");
    expect(() => gateway.snapshotOf("bookings")).toThrow("nobody asks for the rows of bookings");
    listen(client);
    const request = await gateway.next();
    expect(() => request.heartbeat().send("bookings", {})).toThrow("ready() comes first");
    request.ready();
    expect(() => request.ready()).toThrow("open already");
    expect(() => request.refuse(500)).toThrow("open already");
    client.close();
    expect(() => request.cut().checkpoint()).toThrow("closed");
  });

  it("sends each change under an id of its own, or the one that is given", async () => {
    const { client, gateway } = setup();
    const told = listen(client, "provider-bookings");
    (await gateway.next()).ready();
    expect(gateway.insert("provider-bookings", { id: 1, n: 1.5, b: true, s: "x" }, { table: "bookings" })).toBe("mock-1");
    gateway.epoch = "else";
    expect(gateway.remove("provider-bookings", { id: 1 }, { id: "else-1", left: true })).toBe("else-1");
    expect(told.events.map(({ change }) => change)).toMatchObject([
      { table: "bookings", columns: [{ name: "id", type: "numeric" }, {}, { name: "b", type: "bool" }, { name: "s", type: "text" }] },
      { table: "provider_bookings", left: true },
    ]);
  });
});

describe("by itself", () => {
  it("accepts, sends its rows, and keeps them as they change", async () => {
    const gateway = mockTransport({ rows: { bookings: [{ id: 1, status: "pending" }] } });
    const client = createRealtimeClient({ url: "http://mock", transport: gateway });
    const store = client.table("bookings");
    store.subscribe(() => undefined);
    await vi.waitFor(() => expect(store.state.rows).toEqual([{ id: 1, status: "pending" }]));
    gateway.update("bookings", { id: 1, status: "done" });
    gateway.insert("bookings", { id: 2, status: "pending" });
    expect(store.state.rows).toHaveLength(2);
    gateway.remove("bookings", { id: 1 });
    gateway.insert("services", { id: 1 });
    expect(store.state.rows).toEqual([{ id: 2, status: "pending" }]);
    // Somebody else comes later.
    const other = client.table("bookings", { scope: "other" });
    other.subscribe(() => undefined);
    await vi.waitFor(() => expect(other.state.rows).toEqual([{ id: 2, status: "pending" }]));
    client.close();
  });

  it("sends what was missed after a cut, and nothing of other streams", async () => {
    const { client, gateway } = setup({ backoff: { initialMs: 1, jitter: 0 } }, { rows: {} });
    const told = listen(client);
    await vi.waitFor(() => expect(client.status).toBe("CONNECTED"));
    gateway.insert("bookings", { id: 1 });
    gateway.main.cut();
    gateway.insert("bookings", { id: 2 });
    gateway.insert("services", { id: 2 });
    await vi.waitFor(() => expect(told.events.map(({ id }) => id)).toEqual(["mock-1", "mock-2"]));
    client.close();
    gateway.insert("bookings", { id: 3 });
  });

  it("leaves a request alone that the test has answered", async () => {
    const { client, gateway } = setup({}, { rows: {} });
    listen(client);
    const request = await gateway.next();
    request.refuse(403);
    expect(client.status).toBe("DISCONNECTED");
    await Promise.resolve();
    expect(request.state).toBe("ended");
  });

  it("tells rows apart by the key that is given, and names events as declared", async () => {
    const gateway = mockTransport({ rows: { papers: [{ a: 1, b: 1 }] }, key: ["a", "b"], events: { papers: ["paper-in", "paper-changed", "paper-out"] } });
    const client = createRealtimeClient({ url: "http://mock", transport: gateway });
    const names: string[] = [];
    client.listen("papers", { onEvent: ({ name, change }) => names.push(`${name} ${JSON.stringify(change.old_record)}`) });
    await vi.waitFor(() => expect(client.status).toBe("CONNECTED"));
    gateway.update("papers", { a: 1, b: 1, v: 2 });
    gateway.remove("papers", { a: 1, b: 1 });
    expect(names).toEqual(['paper-changed {"a":1,"b":1}', 'paper-out {"a":1,"b":1}']);
    client.close();
  });
});
