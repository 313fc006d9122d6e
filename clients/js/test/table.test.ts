import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";

import type { Row } from "../src/types.js";
import { pass, setup } from "./support.js";
import { asking, filled, keys } from "./tables.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("changes", () => {
  it("set, take away, and move rows by their key", async () => {
    const { gateway, store, told } = await filled([{ id: 1 }, { id: 2 }]);
    told.mockClear();
    gateway.insert("bookings", { id: 3 });
    gateway.update("bookings", { id: 2, v: 1 }, { id: 2 });
    gateway.update("bookings", { id: 10 }, { id: 1 });
    gateway.remove("bookings", { id: 3 }, { left: true });
    gateway.remove("bookings", { id: 77 });
    expect(store.state.rows).toEqual([{ id: 2, v: 1 }, { id: 10 }]);
    expect(told).toHaveBeenCalledTimes(5);
  });

  it("keep what they do not change, and the state as long as nothing has changed", async () => {
    const { gateway, store } = await filled([{ id: 1 }, { id: 2 }]);
    const { state } = store;
    expect(store.state).toBe(state);
    gateway.update("bookings", { id: 2, v: 1 });
    expect(store.state).not.toBe(state);
    expect(store.state.rows[0]).toBe(state.rows[0]);
  });

  it("add to a row that was too large what came of it", async () => {
    const { store, main } = await filled([{ id: 1, v: 1 }]);
    const change = { version: 1, type: "UPDATE", schema: "public", table: "bookings", commit_timestamp: "", old_record: { id: 1 }, columns: [] };
    main.send("bookings", { ...change, record: { id: 1 }, truncated: true }, "mock-1");
    expect(store.state.rows).toEqual([{ id: 1, v: 1 }]);
  });

  it("are in the order that is asked for, else that of the key", async () => {
    const rows = [{ a: 2, b: "x" }, { a: 1, b: "y" }, { a: 1, b: "x" }, { a: 10, b: "x" }];
    const byKey = await filled(rows, { key: ["a", "b"] });
    expect(byKey.store.state.rows.map(({ a, b }) => `${a}${b}`)).toEqual(["1x", "1y", "2x", "10x"]);
    const backwards = await filled(rows, { key: ["a", "b"], compare: (a, b) => (b["a"] as number) - (a["a"] as number) });
    expect(backwards.store.state.rows.map(({ a }) => a)).toEqual([10, 2, 1, 1]);
  });

  it("are reported where a row has no key, and others go on", async () => {
    const { gateway, store, errors } = await filled([{ id: 1 }]);
    gateway.insert("bookings", { name: "x" });
    gateway.insert("bookings", { id: 2 });
    expect(errors).toMatchObject([{ code: "listener", message: expect.stringContaining("its key") }]);
    expect(keys(store)).toEqual([1, 2]);
  });

  it("are told to onChange as they come, whether the rows are there or not", async () => {
    const onChange = vi.fn();
    const { gateway } = await asking({ onChange });
    gateway.insert("bookings", { id: 1 });
    gateway.snapshotOf("bookings").rows([{ id: 1 }]);
    gateway.insert("bookings", { id: 2 });
    expect(onChange.mock.calls.map(([event]) => event.id)).toEqual(["mock-1", "mock-2"]);
  });
});

describe("a reset", () => {
  it("has the rows fetched anew, and shows the old ones meanwhile", async () => {
    const { gateway, store, main } = await filled([{ id: 1 }, { id: 2 }]);
    main.reset("gap", "else-5");
    await pass();
    expect(keys(store)).toEqual([1, 2]);
    expect(store.state.loading).toBe(false);
    main.send("bookings", { ...BLANK, type: "INSERT", record: { id: 3 } }, "else-6");
    expect(keys(store)).toEqual([1, 2, 3]);
    gateway.snapshotOf("bookings").rows([{ id: 2 }], "else-5");
    expect(keys(store)).toEqual([2, 3]);
  });

  it("during the snapshot has it begin anew", async () => {
    const { gateway, store, main } = await asking();
    const first = gateway.snapshotOf("bookings").ready().page([{ id: 1 }], false);
    gateway.insert("bookings", { id: 4 });
    main.reset("truncated", "mock-2");
    await pass();
    expect(first.state).toBe("closed");
    gateway.snapshotOf("bookings").rows([{ id: 5 }], "mock-2");
    expect(keys(store)).toEqual([5]);
    expect(store.state.loading).toBe(false);
  });
});

describe("the connection", () => {
  it("that comes back with what was missed needs no other snapshot", async () => {
    const { gateway, store, main } = await filled([{ id: 1 }]);
    main.cut();
    expect(store.state.status).toBe("RECONNECTING");
    expect(keys(store)).toEqual([1]);
    expect(store.state.error).toMatchObject({ code: "unavailable" });
    await pass(1000);
    gateway.main.ready();
    gateway.insert("bookings", { id: 2 });
    await pass();
    expect(gateway.active).toHaveLength(1);
    expect(keys(store)).toEqual([1, 2]);
    expect(store.state).toMatchObject({ status: "CONNECTED", error: null });
  });

  it("that is lost does not end a snapshot", async () => {
    const { gateway, store, main } = await asking();
    main.cut();
    gateway.snapshotOf("bookings").rows([{ id: 1 }]);
    expect(keys(store)).toEqual([1]);
  });

  it("that is refused leaves the table loading, with the error", async () => {
    const { client, gateway } = setup();
    const store = client.table("bookings");
    store.subscribe(() => undefined);
    await pass();
    gateway.main.refuse(403);
    expect(store.state).toMatchObject({ loading: true, status: "DISCONNECTED", error: { code: "forbidden" } });
  });
});

describe("a store", () => {
  it("is the same for the same stream, filter, key and scope", () => {
    const { client } = setup();
    const store = client.table("bookings");
    expect(client.table("bookings", { key: "id", filter: "" })).toBe(store);
    for (const other of [client.table("services"), client.table("bookings", { filter: "a=eq.1" }), client.table("bookings", { key: "x" }), client.table("bookings", { scope: "2" })]) {
      expect(other).not.toBe(store);
    }
  });

  it("opens nothing before somebody subscribes", async () => {
    const { client, gateway } = setup();
    expect(client.table("bookings").state).toMatchObject({ rows: [], loading: true, error: null });
    await pass(1000);
    expect(gateway.requests).toEqual([]);
  });

  it("has its initial rows at once, and keeps up with them until the others are there", async () => {
    const { gateway, store } = await asking({ initial: [{ id: 2 }, { id: 1 }] });
    expect(store.serverState).toMatchObject({ rows: [{ id: 1 }, { id: 2 }], loading: false, status: "CONNECTING" });
    expect(store.state.loading).toBe(false);
    gateway.insert("bookings", { id: 3 });
    expect(keys(store)).toEqual([1, 2, 3]);
    gateway.snapshotOf("bookings").rows([{ id: 3 }]);
    expect(keys(store)).toEqual([3]);
  });

  it("lingers for a second after the last one has gone", async () => {
    const { client, gateway, store, stop, main } = await filled([{ id: 1 }]);
    stop();
    stop();
    await pass(900);
    const again = store.subscribe(() => undefined);
    gateway.insert("bookings", { id: 2 });
    await pass(5000);
    expect(main.state).toBe("open");
    expect(keys(store)).toEqual([1, 2]);
    expect(gateway.requests).toHaveLength(2);
    again();
    await pass(1001);
    expect(main.state).toBe("closed");
    expect(client.status).toBe("DISCONNECTED");
    expect(client.table("bookings")).not.toBe(store);
  });

  it("fetches its rows anew when somebody comes back later", async () => {
    const { client, gateway, store, stop } = await filled([{ id: 1 }]);
    stop();
    await pass(1001);
    store.subscribe(() => undefined);
    expect(client.table("bookings")).toBe(store);
    await pass();
    gateway.main.ready();
    await pass();
    gateway.snapshotOf("bookings").rows([{ id: 2 }]);
    expect(keys(store)).toEqual([2]);
  });

  it("does not fetch what nobody waits for any more", async () => {
    const { gateway, stop } = await asking();
    const request = gateway.snapshotOf("bookings");
    stop();
    await pass(1001);
    expect(request.state).toBe("closed");
    expect(gateway.active).toEqual([]);
  });

  it("is not hurt by a subscriber that throws", async () => {
    const { gateway, store, errors } = await filled([]);
    store.subscribe(() => {
      throw new Error("mine");
    });
    const other = vi.fn();
    store.subscribe(other);
    gateway.insert("bookings", { id: 1 });
    expect(other).toHaveBeenCalledTimes(1);
    expect(errors).toMatchObject([{ code: "listener" }]);
  });

  it("says once for each snapshot that rows lack their key, and does not show the last of them for all", async () => {
    const { store, errors, main, gateway } = await filled([{ uuid: "a" }, { uuid: "b" }, { id: 1 }]);
    expect(keys(store)).toEqual([1]);
    expect(errors).toMatchObject([{ code: "malformed", message: "a row of bookings without id, its key" }]);
    main.reset();
    await pass();
    gateway.snapshotOf("bookings").rows([{ uuid: "a" }, { uuid: "b" }]);
    expect(errors).toHaveLength(2);
  });

  it("asks for nothing any more once the client is closed, and again when it is back", async () => {
    const { client, gateway, store } = await asking();
    gateway.snapshotOf("bookings").refuse(503);
    client.close();
    await pass(100_000);
    expect(gateway.active).toEqual([]);
    expect(gateway.requests).toHaveLength(2);
    client.reconnect();
    await pass();
    gateway.main.ready();
    await pass();
    gateway.snapshotOf("bookings").rows([{ id: 1 }]);
    expect(keys(store)).toEqual([1]);
  });

  it("closes its request with the client", async () => {
    const { client, gateway } = await asking();
    client.close();
    expect(gateway.active).toEqual([]);
  });

  it.each([
    [400, 0],
    [503, 1],
  ])("keeps no event that comes after a %i, and none twice", async (status, more) => {
    const { gateway, store } = await asking({ initial: [] });
    const events = countKept();
    gateway.insert("bookings", { id: 1 });
    expect(events()).toBe(1);
    gateway.snapshotOf("bookings").refuse(status);
    gateway.insert("bookings", { id: 2 });
    expect(events()).toBe(1);
    await pass(1000);
    expect(gateway.active).toHaveLength(1 + more);
    expect(keys(store)).toEqual([1, 2]);
    if (!more) return;
    gateway.insert("bookings", { id: 3 });
    expect(events()).toBe(2);
    gateway.snapshotOf("bookings").rows([{ id: 1 }, { id: 2 }, { id: 3 }]);
    gateway.insert("bookings", { id: 4 });
    expect(events()).toBe(2);
    expect(keys(store)).toEqual([1, 2, 3, 4]);
  });

  it("of the former user is not found again by the former user, who is back within a second", async () => {
    let user = "A";
    const { client, gateway } = setup({ getToken: () => user });
    const enter = async (next: string) => {
      user = next;
      client.reconnect();
      const store = client.table("bookings", { scope: next });
      const stop = store.subscribe(() => undefined);
      await pass();
      gateway.main.ready();
      await pass();
      return { store, stop };
    };
    const a = await enter("A");
    gateway.snapshotOf("bookings").rows([{ id: "of A" }]);
    a.stop();
    const b = await enter("B");
    gateway.snapshotOf("bookings").rows([]);
    gateway.insert("bookings", { id: "of B" });
    b.stop();
    const again = await enter("A");
    expect(again.store.state.rows).toEqual([]);
    gateway.snapshotOf("bookings").rows([{ id: "of A" }]);
    // The former stores let go meanwhile, and take nothing of the present one's with them.
    await pass(1001);
    expect(client.table("bookings", { scope: "A" })).toBe(again.store);
    expect(keys(again.store)).toEqual(["of A"]);
  });

  it("takes its rows from where it is told, and applies all that came meanwhile", async () => {
    let give: (rows: Row[]) => void = () => undefined;
    const { gateway, store } = await asking({ fetchSnapshot: () => new Promise((resolve) => (give = resolve)) });
    expect(gateway.active).toHaveLength(1);
    gateway.insert("bookings", { id: 2 });
    give([{ id: 1 }]);
    await pass();
    expect(keys(store)).toEqual([1, 2]);
    expect(store.state.lastEventId).toBe("mock-1");
  });

  it("asks again where that fails, and drops an answer that comes too late", async () => {
    const answers: ((rows: Row[]) => void)[] = [];
    const fetchSnapshot = vi
      .fn<() => Promise<Row[]>>()
      .mockImplementationOnce(() => {
        throw new Error("mine");
      })
      .mockImplementation(() => new Promise((resolve) => answers.push(resolve)));
    const { store, main } = await asking({ fetchSnapshot });
    expect(store.state.error).toMatchObject({ code: "unavailable", cause: new Error("mine") });
    await pass(1000);
    main.reset();
    answers[0]?.([{ id: 1 }]);
    await pass();
    expect(store.state.loading).toBe(true);
    answers[1]?.([{ id: 2 }]);
    await pass();
    expect(keys(store)).toEqual([2]);
  });
});

const BLANK = { version: 1, schema: "public", table: "bookings", commit_timestamp: "", old_record: null, columns: [] };

/** Counts the events that are put into any list from now on. */
function countKept(): () => number {
  const { push } = Array.prototype;
  let kept = 0;
  Array.prototype.push = function (...all: unknown[]) {
    if ((all[0] as Row | undefined)?.["change"]) kept += 1;
    return push.apply(this, all);
  };
  onTestFinished(() => {
    Array.prototype.push = push;
  });
  return () => kept;
}
