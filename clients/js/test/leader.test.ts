import { describe, expect, it, vi } from "vitest";

import { FakeChannel, FakeLocks } from "./locks.js";
import { ids, listen, loaded, pass, row, setup } from "./support.js";
import { gateway, kill, locks, tab } from "./tabs.js";

describe("a leader that is gone", () => {
  it("is followed by another one, behind the last id, with all streams: nobody misses or repeats anything", async () => {
    const one = await tab("bookings");
    const two = await tab("services");
    const three = await tab("bookings");
    gateway.main.ready();
    gateway.insert("bookings", { id: 1 });
    await pass();
    await kill(one);
    expect(gateway.active).toHaveLength(1);
    expect(gateway.main.lastEventId).toBe("mock-1");
    expect(gateway.main.streams).toEqual(["bookings", "services"]);
    expect(two.client.status).toBe("RECONNECTING");
    gateway.main.ready();
    gateway.insert("services", { id: 2 });
    gateway.insert("bookings", { id: 3 });
    await pass();
    expect(ids(two.told.events)).toEqual(["mock-2"]);
    expect(ids(three.told.events)).toEqual(["mock-1", "mock-3"]);
    expect([...two.told.resets, ...three.told.resets]).toEqual([]);
    expect(three.statuses.at(-1)).toBe("CONNECTED");
  });

  it("leaves its own streams behind only for a while", async () => {
    const one = await tab("bookings");
    await tab("services");
    gateway.main.ready();
    await pass();
    await kill(one);
    gateway.main.ready();
    await pass(5000);
    expect(gateway.main.streams).toEqual(["services"]);
  });

  it("is told apart from one that closes, which hands over too", async () => {
    const one = await tab();
    const two = await tab();
    gateway.main.ready();
    one.client.close();
    await pass(50);
    expect(gateway.active).toHaveLength(1);
    gateway.main.ready();
    await pass();
    expect(two.client.status).toBe("CONNECTED");
    expect(one.client.status).toBe("DISCONNECTED");
  });

  it("may have seen less than a follower: what comes again is dropped there", async () => {
    const one = await tab();
    const two = await tab();
    const three = await tab();
    gateway.main.ready();
    FakeChannel.lost = (data, to) => to === two.channel && JSON.stringify(data).includes("mock-1");
    const change = { version: 1, type: "INSERT", schema: "public", table: "bookings", commit_timestamp: "", record: { id: 1 }, old_record: null, columns: [] };
    gateway.main.send("bookings", change, "mock-1");
    await pass();
    expect([two.told.events.length, three.told.events.length]).toEqual([0, 1]);
    await kill(one);
    expect(gateway.main.lastEventId).toBe("mock-0");
    gateway.main.ready().send("bookings", change, "mock-1");
    await pass();
    expect([ids(two.told.events), ids(three.told.events)]).toEqual([["mock-1"], ["mock-1"]]);
    expect(three.told.resets).toEqual([]);
  });

  it("may repeat a reset that a follower has had: neither that nor what came after it is told again there", async () => {
    const one = await tab();
    const two = await tab();
    const three = await tab();
    gateway.main.ready();
    await pass();
    FakeChannel.lost = (_data, to) => to === two.channel;
    const again = (): unknown => gateway.main.reset("truncated", "mock-1").reset("capture-failed", "mock-2").send("bookings", row(1), "mock-3");
    again();
    await pass();
    await kill(one);
    expect(gateway.main.lastEventId).toBe("mock-0");
    gateway.main.ready();
    again();
    await pass();
    expect(two.told).toMatchObject({ resets: ["truncated", "capture-failed"], events: [{ id: "mock-3" }] });
    expect(three.told).toMatchObject({ resets: ["truncated", "capture-failed"], events: [{ id: "mock-3" }] });
    expect(three.client.lastEventId).toBe("mock-3");
    // Every other reset says where all of them go on from.
    gateway.main.reset("retention", "mock-3");
    await pass();
    expect(three.told.resets).toEqual(["truncated", "capture-failed", "retention"]);
  });

  it("may have seen more than a follower, which is told of the gap", async () => {
    const one = await tab();
    const two = await tab();
    const three = await tab();
    gateway.main.ready();
    await pass();
    FakeChannel.lost = (_data, to) => to === three.channel;
    gateway.insert("bookings", { id: 1 });
    await pass();
    FakeChannel.lost = () => false;
    await kill(one);
    FakeChannel.lost = () => false;
    await pass();
    expect(gateway.main.lastEventId).toBe("mock-1");
    expect(two.told.resets).toEqual([]);
    gateway.main.ready();
    await pass();
    expect(three.told.resets).toEqual(["gap"]);
    expect(three.client.lastEventId).toBe("mock-1");
  });
});

describe("a message that is lost", () => {
  it("is a gap for who has not heard it, and then it goes on", async () => {
    const one = await tab();
    const two = await tab();
    gateway.main.ready();
    await pass();
    FakeChannel.lost = (_data, to) => to === two.channel;
    gateway.insert("bookings", { id: 1 });
    FakeChannel.lost = () => false;
    gateway.insert("bookings", { id: 2 });
    await pass();
    expect(one.told.resets).toEqual([]);
    expect(two.told.resets).toEqual(["gap"]);
    expect(ids(two.told.events)).toEqual(["mock-2"]);
  });

  it("is noticed by a page that comes back with an older id than the others have", async () => {
    await tab();
    gateway.main.ready();
    gateway.insert("bookings", { id: 1 });
    vi.stubGlobal("localStorage", { getItem: () => "mock-0", setItem: () => undefined });
    const two = await tab("bookings", undefined, { resume: "user-1" });
    expect(two.told.resets).toEqual(["gap"]);
    expect(two.client.lastEventId).toBe("mock-1");
  });

  it("lets a table ask for its rows when the leader's connection is there, and not before", async () => {
    await tab();
    vi.stubGlobal("localStorage", { getItem: () => "mock-0", setItem: () => undefined });
    const { client } = setup({ tabs: true, transport: gateway, resume: "user-1" });
    client.table("bookings").subscribe(() => undefined);
    await loaded();
    await pass(50);
    expect(gateway.requests).toHaveLength(1);
    gateway.main.ready();
    await pass();
    expect(gateway.requests.map(({ snapshot }) => snapshot)).toEqual([false, true]);
  });

  it("is made up for by a page that was frozen while the others went on without its stream", async () => {
    const one = await tab("services");
    await tab("services");
    const frozen = await tab("bookings");
    gateway.main.ready();
    await pass();
    expect(frozen.told.ready).toBe(1);
    FakeChannel.all = FakeChannel.all.filter((channel) => channel !== frozen.channel);
    await kill(one);
    gateway.main.ready();
    await pass(5000);
    expect(gateway.main.streams).toEqual(["services"]);
    gateway.main.ready();
    FakeChannel.all.push(frozen.channel);
    FakeChannel.lost = () => false;
    gateway.insert("services", { id: 1 });
    await pass(50);
    expect(gateway.main.streams).toEqual(["bookings", "services"]);
    gateway.main.ready();
    await pass();
    expect(frozen.told.resets).toContain("gap");
    expect(frozen.told.ready).toBe(2);
    gateway.insert("bookings", { id: 2 });
    await pass();
    expect(ids(frozen.told.events)).toEqual(["mock-2"]);
  });
});

it("a tab that is hidden leaves its place to others, and comes back", async () => {
  const page = { visibilityState: "visible", listeners: [] as (() => void)[] };
  const document = { ...page, addEventListener: (_name: string, listener: () => void) => page.listeners.push(listener), removeEventListener: () => undefined };
  const two = await tab();
  vi.stubGlobal("document", document);
  const one = await tab("services", undefined, { pauseWhenHidden: true });
  gateway.main.ready();
  await pass();
  document.visibilityState = "hidden";
  page.listeners.forEach((listener) => listener());
  await pass(50);
  expect(one.client.status).toBe("RECONNECTING");
  expect(gateway.main.streams).toEqual(["bookings"]);
  gateway.main.ready();
  gateway.insert("bookings", { id: 1 });
  document.visibilityState = "visible";
  page.listeners.forEach((listener) => listener());
  await pass(50);
  gateway.main.ready();
  await pass();
  expect(one.client.status).toBe("CONNECTED");
  expect(one.told.resets.length).toBeGreaterThan(0);
  expect(two.client.status).toBe("CONNECTED");
});

it("a leader that was refused tries again when a tab comes, and not for one that it knows", async () => {
  await tab();
  const two = await tab();
  gateway.main.refuse(401);
  await pass(50);
  gateway.main.refuse(401);
  await pass(50);
  expect(two.client.error).toMatchObject({ code: "unauthorized" });
  listen(two.client, "services");
  await pass(50);
  expect(gateway.active).toEqual([]);
  const three = await tab();
  expect(gateway.active).toHaveLength(1);
  gateway.main.ready();
  await pass();
  expect([two.client.status, three.client.status]).toEqual(["CONNECTED", "CONNECTED"]);
});

it.each([
  ["a lock is refused", () => vi.stubGlobal("navigator", { locks: { request: () => Promise.reject(new DOMException("no", "SecurityError")) } })],
  [
    "asking for a lock throws",
    () =>
      vi.stubGlobal("navigator", {
        locks: {
          request() {
            throw new DOMException("no", "SecurityError");
          },
        },
      }),
  ],
  [
    "a channel cannot be made",
    () =>
      vi.stubGlobal(
        "BroadcastChannel",
        class {
          constructor() {
            throw new DOMException("no", "SecurityError");
          }
        },
      ),
  ],
])("a client has a connection of its own where %s, and says so", async (_what, refuse) => {
  refuse();
  const { client, errors, told } = await tab();
  gateway.main.ready();
  expect(client.status).toBe("CONNECTED");
  gateway.insert("bookings", { id: 1 });
  expect(ids(told.events)).toEqual(["mock-1"]);
  expect(errors).toMatchObject([{ code: "unavailable", message: "tabs do not share a connection" }]);
  gateway.main.cut();
  client.reconnect();
  await pass();
  expect(gateway.active).toHaveLength(1);
  client.close();
  expect(gateway.active).toEqual([]);
});

it("a client without locks has a connection of its own", async () => {
  vi.stubGlobal("navigator", {});
  await tab();
  await tab();
  expect(gateway.active).toHaveLength(2);
});

it("a client that is closed before it has a lock leaves nothing behind", async () => {
  const { client } = setup({ tabs: true, transport: gateway });
  listen(client);
  await loaded();
  client.close();
  await pass(100);
  expect(gateway.requests).toEqual([]);
  expect(FakeChannel.all).toEqual([]);
  expect(locks.held.size).toBe(0);
});

it("tabs work over Node's own BroadcastChannel", async () => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.stubGlobal("navigator", { locks: new FakeLocks() });
  const make = () => setup({ tabs: "node", transport: gateway });
  const [one, two] = [make(), make()];
  const [a, b] = [listen(one.client), listen(two.client)];
  await vi.waitFor(() => expect(gateway.active).toHaveLength(1));
  gateway.main.ready();
  await vi.waitFor(() => expect([a.ready, b.ready]).toEqual([1, 1]));
  gateway.insert("bookings", { id: 1 });
  await vi.waitFor(() => expect([a.events.length, b.events.length]).toEqual([1, 1]));
  one.client.close();
  await vi.waitFor(() => expect(gateway.main.state).toBe("waiting"));
  expect(gateway.main.lastEventId).toBe("mock-1");
});
