import { describe, expect, it, vi } from "vitest";

import { FakeChannel } from "./locks.js";
import { ids, pass, row } from "./support.js";
import { gateway, kill, tab } from "./tabs.js";

describe("several tabs", () => {
  it("share one connection, and all of them are told", async () => {
    const tabs = [await tab(), await tab(), await tab()];
    expect(gateway.active).toHaveLength(1);
    gateway.main.ready();
    await pass();
    expect(tabs.map(({ client }) => client.status)).toEqual(["CONNECTED", "CONNECTED", "CONNECTED"]);
    gateway.insert("bookings", { id: 1 });
    await pass();
    expect(tabs.map(({ told }) => ids(told.events))).toEqual([["mock-1"], ["mock-1"], ["mock-1"]]);
    expect(tabs.map(({ client }) => client.lastEventId)).toEqual(["mock-1", "mock-1", "mock-1"]);
    expect(gateway.requests).toHaveLength(1);
  });

  it("ask for all that any of them wants, and each is told of its own", async () => {
    const one = await tab("bookings");
    gateway.main.ready();
    const two = await tab("services");
    expect(gateway.main.streams).toEqual(["bookings", "services"]);
    expect(two.told.ready).toBe(0);
    gateway.main.ready();
    await pass();
    expect([one.told.ready, two.told.ready]).toEqual([2, 1]);
    gateway.insert("services", { id: 1 });
    await pass();
    expect([one.told.events.length, two.told.events.length]).toEqual([0, 1]);
    expect(one.client.lastEventId).toBe("mock-1");
  });

  it("open anew also for what the leader itself wants besides", async () => {
    const one = await tab("bookings");
    const two = await tab("bookings");
    gateway.main.ready();
    one.client.listen("services", { onEvent: () => undefined });
    one.client.reconnect();
    await pass(50);
    expect(gateway.main.streams).toEqual(["bookings", "services"]);
    gateway.main.ready();
    await pass();
    expect(two.told).toMatchObject({ ready: 2, resets: [] });
  });

  it("are told at once where the connection has their stream already", async () => {
    await tab();
    gateway.main.ready();
    gateway.insert("bookings", { id: 1 });
    const two = await tab();
    expect(two.client.status).toBe("CONNECTED");
    expect(two.told).toMatchObject({ ready: 1, resets: [], events: [] });
    expect(two.client.lastEventId).toBe("mock-1");
    expect(gateway.requests).toHaveLength(1);
  });

  it("are judged for where they want different rows", async () => {
    const one = await tab("bookings", "status=eq.a");
    const two = await tab("bookings", "status=eq.b");
    expect(gateway.main.filter("bookings")).toEqual([]);
    gateway.main.ready();
    gateway.insert("bookings", { id: 1, status: "b" });
    await pass();
    expect([one.told.events.length, two.told.events.length]).toEqual([0, 1]);
  });

  it("are told of resets, parts of the gateway, and names that only one of them has heard", async () => {
    const one = await tab("bookings");
    const two = await tab("system");
    const onComponent = vi.fn();
    two.client.listen("system", { onEvent: () => undefined, onComponent });
    const onDocument = vi.fn();
    two.client.on("document-shared", onDocument, { stream: "documents" });
    await pass(50);
    const main = gateway.main.ready();
    main.send("document-shared", { version: 1, type: "INSERT", schema: "public", table: "documents", commit_timestamp: "", record: { id: 1 }, old_record: null, columns: [] }, "mock-1");
    main.send("system", { version: 1, type: "STATUS", component: "redis", status: "down", since: "2026" }, "mock-1");
    gateway.position = 3;
    main.checkpoint();
    main.reset("gap");
    await pass();
    expect(onDocument).toHaveBeenCalledTimes(1);
    expect(onComponent).toHaveBeenCalledTimes(1);
    expect([one.told.resets, two.told.resets]).toEqual([["gap"], ["gap"]]);
    expect(two.client.lastEventId).toBe("mock-3");
  });

  it("open anew for a name that only one of them has heard, and not for the order in which they say what they want", async () => {
    const opened = vi.spyOn(gateway, "open");
    await tab("documents");
    const two = await tab("documents");
    gateway.main.ready();
    const heard = vi.fn();
    two.client.on("document-shared", heard, { stream: "documents" });
    await pass(50);
    expect(opened.mock.lastCall?.[0].events).toEqual(["documents", "document-shared"]);
    gateway.main.ready().send("document-shared", row(1), "mock-1");
    await pass();
    expect(heard).toHaveBeenCalledTimes(1);
    const three = await tab("documents");
    three.client.on("document-shared", heard, { stream: "documents" });
    await pass(50);
    expect(gateway.requests).toHaveLength(2);
  });

  it("are told why it is not there, and any of them can ask for it anew", async () => {
    await tab();
    const two = await tab();
    gateway.main.refuse(403, { detail: "not yours" });
    await pass();
    expect(two.client.error).toMatchObject({ name: "RealtimeError", code: "forbidden", status: 403, message: "not yours" });
    two.client.reconnect();
    await pass(50);
    gateway.main.ready();
    await pass();
    expect(two.client.status).toBe("CONNECTED");
    expect(two.client.error).toBeNull();
  });

  it("never hear a token", async () => {
    await tab("bookings", undefined, { getToken: () => "s3cr3t" });
    await tab("services", undefined, { getToken: () => "s3cr3t" });
    gateway.main.ready().expiring();
    await pass(50);
    expect(gateway.posts).toHaveLength(1);
    expect(JSON.stringify(FakeChannel.sent)).not.toContain("s3cr3t");
  });

  it("of other names have connections of their own", async () => {
    await tab("bookings", undefined, { tabs: "user-1" });
    await tab("bookings", undefined, { tabs: "user-2" });
    expect(gateway.active).toHaveLength(2);
  });

  it("of other gateways have connections of their own", async () => {
    await tab("bookings", undefined, { url: "http://one" });
    await tab("bookings", undefined, { url: "http://two/" });
    expect(gateway.active).toHaveLength(2);
  });

  it("narrow the connection when one of them leaves, and when one crashes", async () => {
    await tab("bookings");
    const leaves = await tab("services");
    const crashes = await tab("payments");
    expect(gateway.main.streams).toEqual(["bookings", "payments", "services"]);
    leaves.told.stop();
    await pass(50);
    expect(gateway.main.streams).toEqual(["bookings", "payments"]);
    // The crash cuts the connection too, which comes back after its pause.
    await kill(crashes, undefined);
    await pass(1000);
    expect(gateway.main.streams).toEqual(["bookings"]);
    await pass(2000);
    expect(gateway.active).toHaveLength(1);
  });
});
