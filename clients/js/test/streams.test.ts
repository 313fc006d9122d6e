import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { connected, listen, loaded, pass, setup } from "./support.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("several streams", () => {
  it("has one connection for all that is listened to, and asks for the filters", async () => {
    const { client, gateway } = setup();
    listen(client, "services", "price=lt.100&name=eq." + encodeURIComponent("a&b"));
    listen(client, "bookings", "start_time=gte.2026-05-04T00:00:00+02:00");
    listen(client, "notifications");
    await pass();
    expect(gateway.requests).toHaveLength(1);
    expect(gateway.main.streams).toEqual(["bookings", "notifications", "services"]);
    expect(gateway.main.filter("services")).toEqual(["price=lt.100", "name=eq.a&b"]);
    expect(gateway.main.filter("bookings")).toEqual(["start_time=gte.2026-05-04T00:00:00+02:00"]);
    expect(gateway.main.url.searchParams.get("format")).toBe("raw");
    expect(gateway.main.snapshot).toBe(false);
  });

  it("opens anew behind the last id when another stream is wanted, and stays CONNECTED meanwhile", async () => {
    const { client, gateway, told, main, statuses } = await connected();
    gateway.insert("bookings", { id: 1 });
    const more = listen(client, "services");
    await pass();
    expect(main.state).toBe("closed");
    expect(gateway.main.lastEventId).toBe("mock-1");
    expect(more.ready).toBe(0);
    gateway.main.ready();
    expect([told.ready, more.ready]).toEqual([2, 1]);
    expect(statuses).toEqual(["CONNECTING", "CONNECTED"]);
  });

  it("says RECONNECTING where the new connection does not come about in a second", async () => {
    const { client, statuses } = await connected();
    listen(client, "services");
    await pass(1000);
    expect(statuses).toEqual(["CONNECTING", "CONNECTED", "RECONNECTING"]);
  });

  it("tells a newcomer at once that the connection has its stream already", async () => {
    const { client, gateway } = await connected();
    const more = listen(client);
    expect(more.ready).toBe(0);
    await pass();
    expect(more.ready).toBe(1);
    expect(gateway.requests).toHaveLength(1);
  });

  it("opens anew behind the last id where another name is listened to, for EventSource hears no others", async () => {
    const { client, gateway } = setup();
    const opened = vi.spyOn(gateway, "open");
    const heard = vi.fn();
    client.on("document-shared", heard, { stream: "documents" });
    listen(client);
    await pass();
    gateway.main.ready();
    client.on("document-changed", heard, { stream: "documents" });
    await pass();
    expect(opened.mock.lastCall?.[0].events).toEqual(["documents", "document-shared", "document-changed", "bookings"]);
    expect(gateway.main.lastEventId).toBe("mock-0");
    gateway.main.ready();
    // These it hears already.
    client.on("document-shared", heard, { stream: "documents" });
    client.on("bookings", heard);
    await pass();
    expect(gateway.requests).toHaveLength(2);
  });

  it("asks for a stream without a filter where listeners want different rows, and judges for each", async () => {
    const { client, gateway } = setup();
    const pending = listen(client, "bookings", "status=eq.pending");
    await pass();
    expect(gateway.main.filter("bookings")).toEqual(["status=eq.pending"]);
    gateway.main.ready();
    const done = listen(client, "bookings", "status=eq.done");
    const all = listen(client);
    await loaded();
    expect(gateway.main.filter("bookings")).toEqual([]);
    gateway.main.ready();
    gateway.insert("bookings", { id: 1, status: "pending" });
    gateway.update("bookings", { id: 1, status: "done" }, { id: 1, status: "pending" });
    gateway.update("bookings", { id: 1, status: "done", x: 1 }, { id: 1, status: "done" });
    gateway.remove("bookings", { id: 1, status: "done" });
    const types = (told: typeof all): string[] => told.events.map(({ change }) => change.type + (change.left ? " left" : ""));
    expect(types(pending)).toEqual(["INSERT", "DELETE left"]);
    expect(types(done)).toEqual(["INSERT", "UPDATE", "DELETE"]);
    expect(types(all)).toEqual(["INSERT", "UPDATE", "UPDATE", "DELETE"]);
    // Who is left alone is filtered for by the gateway again.
    pending.stop();
    all.stop();
    await pass();
    expect(gateway.main.filter("bookings")).toEqual(["status=eq.done"]);
  });

  it("gives what comes to pass a filter the name of what it is to its listener", async () => {
    const { client, gateway } = setup();
    const austin = listen(client, "properties", "city=eq.Austin");
    listen(client, "properties", "city=eq.Dallas");
    await loaded();
    gateway.main.ready();
    gateway.update("properties", { id: 1, city: "Austin" }, { id: 1, city: "Dallas" });
    expect(austin.events).toMatchObject([{ name: "property-created", change: { type: "INSERT", old_record: null } }]);
  });

  it("reports a filter that cannot be judged, and tells its listener nothing", async () => {
    const { client, gateway, errors } = setup();
    const odd = listen(client, "bookings", "status=looks.odd");
    const all = listen(client);
    await loaded();
    gateway.main.ready();
    gateway.insert("bookings", { id: 1, status: "pending" });
    expect(odd.events).toEqual([]);
    expect(all.events).toHaveLength(1);
    expect(errors).toMatchObject([{ code: "listener" }]);
  });
});
