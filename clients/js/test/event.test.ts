import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { connected, ids, listen, pass, row, setup } from "./support.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("events", () => {
  it("tells each event once, in whatever connection it comes", async () => {
    const { gateway, told, main } = await connected();
    gateway.insert("bookings", { id: 1 });
    main.cut();
    await pass(1000);
    const again = gateway.main.ready();
    again.send("bookings", row(1), "mock-1");
    again.send("bookings", row(2), "mock-2");
    again.send("bookings", row(2), "mock-2");
    again.send("bookings", row(1), "mock-1");
    expect(ids(told.events)).toEqual(["mock-1", "mock-2"]);
  });

  it("tells the events of one position on several streams", async () => {
    const { client, gateway } = setup();
    const [bookings, services] = [listen(client), listen(client, "services")];
    await pass();
    const main = gateway.main.ready();
    main.send("bookings", row(1), "mock-3-bookings");
    main.send("services", row(1), "mock-3");
    main.send("bookings", row(1), "mock-3-bookings");
    expect([ids(bookings.events), ids(services.events)]).toEqual([["mock-3-bookings"], ["mock-3"]]);
  });

  it("takes another epoch, whatever its positions", async () => {
    const { client, told, main } = await connected();
    main.send("bookings", row(1), "mock-9");
    main.send("bookings", row(1), "other-1");
    expect(ids(told.events)).toEqual(["mock-9", "other-1"]);
    expect(client.lastEventId).toBe("other-1");
  });

  it("tells of a reset, and goes on from its id even if that is further back", async () => {
    const { client, told, main } = await connected();
    main.send("bookings", row(1), "mock-9");
    main.reset("future", "mock-4");
    main.send("bookings", row(1), "mock-5");
    expect(told.resets).toEqual(["future"]);
    expect(ids(told.events)).toEqual(["mock-9", "mock-5"]);
    expect(client.lastEventId).toBe("mock-5");
  });

  it("tells of a reset of one stream only its listeners, and of one without streams all", async () => {
    const { client, gateway } = setup();
    const [bookings, services] = [listen(client), listen(client, "services")];
    await pass();
    const main = gateway.main.ready();
    main.send("reset", { reason: "truncated", stream: "services", table: "public.services" });
    main.send("reset", { reason: "gap" });
    expect([bookings.resets, services.resets]).toEqual([["gap"], ["truncated", "gap"]]);
  });

  it("goes on from where reset says, and from no other place before it has come", async () => {
    const { client, gateway, main } = await connected();
    main.send("bookings", row(1), "mock-9");
    main.cut();
    await pass(1000);
    gateway.main.ready({ status: "reset", id: "again-2" }).cut();
    expect(client.lastEventId).toBe("mock-9");
    await pass(2000);
    expect(gateway.main.lastEventId).toBe("mock-9");
    gateway.main.ready({ status: "reset", id: "again-2" }).reset("gap", "again-2");
    expect(client.lastEventId).toBe("again-2");
  });

  it.each([
    ["no JSON", "bookings", "{", "mock-1"],
    ["no object", "bookings", "[]", "mock-1"],
    ["no type", "bookings", {}, "mock-1"],
    ["an unknown type", "bookings", { ...row(1), type: "UPSERT" }, "mock-1"],
    ["no row", "bookings", { ...row(1), record: null }, "mock-1"],
    ["a row that is none", "bookings", { ...row(1), old_record: 3 }, "mock-1"],
    ["a delete without its row", "bookings", { ...row(1), type: "DELETE" }, "mock-1"],
    ["no table", "bookings", { ...row(1), table: undefined }, "mock-1"],
    ["a place that is none", "bookings", row(1), "none-0"],
    ["no columns", "bookings", { ...row(1), columns: null }, "mock-1"],
    ["a stream that nobody asked for", "constructor", row(1), "mock-1"],
    ["a state that is none", "bookings", { type: "STATUS", component: "redis" }, "mock-1"],
  ])("reports and skips an event with %s, and goes on behind it", async (_what, event, data, id) => {
    const { client, gateway, told, main, errors } = await connected();
    // With several streams an event's name must be one of theirs.
    listen(client, "services");
    await pass();
    gateway.main.ready().send(event, data, id);
    expect(errors).toMatchObject([{ code: "malformed" }]);
    expect(client.lastEventId).toBe(id === "none-0" ? "mock-0" : id);
    gateway.main.send("bookings", row(2), "mock-2");
    expect(ids(told.events)).toEqual(["mock-2"]);
    expect(main.state).toBe("closed");
  });

  it("reports and skips an event without an id of ours, and keeps its place", async () => {
    const { client, told, main, errors } = await connected();
    main.send("bookings", row(1), "12345");
    expect(errors).toMatchObject([{ code: "malformed" }]);
    expect(told.events).toEqual([]);
    expect(client.lastEventId).toBe("mock-0");
  });

  it("quotes nothing of what is malformed", async () => {
    const { main, errors } = await connected();
    main.send("bookings", '{"secret": "s3cr3t', "mock-1");
    expect(errors[0]?.message).not.toContain("s3cr3t");
  });

  it("takes an event before ready for malformed", async () => {
    const { client, gateway, errors } = setup();
    const told = listen(client);
    await pass();
    gateway.main.accept().send("bookings", row(1), "mock-1");
    expect(told.events).toEqual([]);
    expect(errors).toMatchObject([{ code: "malformed" }]);
  });

  it("tells of the gateway's parts without moving on", async () => {
    const { client, gateway } = setup();
    const onComponent = vi.fn();
    const onEvent = vi.fn();
    client.listen("system", { onEvent, onComponent, filter: "severity=eq.high" });
    await pass();
    const main = gateway.main.ready();
    const status = { version: 1, type: "STATUS", component: "postgres", status: "down", since: "2026-05-04T13:31:37Z" };
    main.send("system", status, "mock-0");
    main.send("system", { ...status, status: "up" }, "mock-0");
    expect(onComponent.mock.calls.map(([state]) => state.status)).toEqual(["down", "up"]);
    expect(onEvent).not.toHaveBeenCalled();
  });

  it("takes whatever table there is on changes", async () => {
    const { client, gateway } = setup();
    const told = listen(client, "changes");
    await pass();
    gateway.main.ready().send("changes", { ...row(1), table: "payments", truncated: true }, "mock-1");
    expect(told.events).toMatchObject([{ stream: "changes", change: { table: "payments", truncated: true } }]);
  });
});
