import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import type { MockRequest } from "../src/mock.js";
import { pass, setup } from "./support.js";
import { asking, keys } from "./tables.js";
import type { Used } from "./tables.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a snapshot", () => {
  it("is asked for when the connection has the stream, with the filter, and read to its end", async () => {
    const { client, gateway } = setup();
    const store = client.table("bookings", { filter: "status=eq.pending" });
    store.subscribe(() => undefined);
    await pass();
    expect(gateway.requests).toHaveLength(1);
    gateway.main.ready();
    await pass();
    const request = gateway.snapshotOf("bookings");
    expect(request.filter("bookings")).toEqual(["status=eq.pending"]);
    expect(request.lastEventId).toBeNull();
    expect(request.token).toBe("token");
    request.ready().page([{ id: 2 }], false).page([{ id: 1 }], false);
    expect(store.state.loading).toBe(true);
    request.page([], true);
    expect(store.state).toMatchObject({ loading: false, error: null, status: "CONNECTED", lastEventId: "mock-0" });
    expect(keys(store)).toEqual([1, 2]);
    expect(request.state).toBe("closed");
  });

  it("begins anew where a reset comes between its pages", async () => {
    const { gateway, store } = await asking();
    gateway.snapshotOf("bookings").ready().page([{ id: 1 }], false).send("reset", { reason: "truncated" }, "none-0").page([{ id: 2 }], true);
    expect(keys(store)).toEqual([2]);
  });

  it("keeps what comes meanwhile, skips what the rows know, and applies the rest", async () => {
    const { gateway, store } = await asking();
    gateway.position = 10;
    gateway.insert("bookings", { id: 1, v: "old" }); // 11
    gateway.insert("bookings", { id: 2, v: "new" }); // 12
    gateway.remove("bookings", { id: 3 }); // 13
    expect(store.state.rows).toEqual([]);
    gateway.snapshotOf("bookings").rows([{ id: 1, v: "newer" }, { id: 3, v: "gone" }], "mock-11");
    expect(store.state.rows).toEqual([{ id: 1, v: "newer" }, { id: 2, v: "new" }]);
    expect(store.state.lastEventId).toBe("mock-13");
  });

  it("skips what it knows already also where the connection is behind it", async () => {
    const { gateway, store, main } = await asking();
    gateway.snapshotOf("bookings").rows([{ id: 1, v: "newer" }], "mock-20");
    gateway.position = 18;
    gateway.update("bookings", { id: 1, v: "old" }); // 19
    gateway.remove("bookings", { id: 1 }); // 20
    expect(store.state.rows).toEqual([{ id: 1, v: "newer" }]);
    gateway.update("bookings", { id: 1, v: "newest" }); // 21
    expect(store.state.rows).toEqual([{ id: 1, v: "newest" }]);
    expect(main.state).toBe("open");
  });

  it("has the same rows in the end, in whatever order it and the changes come", async () => {
    const changes = [
      (made: Used) => made.gateway.insert("bookings", { id: 1, v: 1 }),
      (made: Used) => made.gateway.update("bookings", { id: 1, v: 2 }),
      (made: Used) => made.gateway.insert("bookings", { id: 2, v: 1 }),
      (made: Used) => made.gateway.remove("bookings", { id: 1 }),
      (made: Used) => made.gateway.insert("bookings", { id: 1, v: 3 }),
    ];
    const after = [[], [{ id: 1, v: 1 }], [{ id: 1, v: 2 }], [{ id: 1, v: 2 }, { id: 2, v: 1 }], [{ id: 2, v: 1 }], [{ id: 1, v: 3 }, { id: 2, v: 1 }]];
    for (let knows = 0; knows <= changes.length; knows += 1) {
      for (let arrives = 0; arrives <= changes.length; arrives += 1) {
        const made = await asking();
        const answer = (): void => void made.gateway.snapshotOf("bookings").rows(after[knows] ?? [], `mock-${knows}`);
        changes.forEach((change, at) => {
          if (at === arrives) answer();
          change(made);
        });
        if (arrives === changes.length) answer();
        expect(made.store.state.rows, `knows ${knows}, arrives ${arrives}`).toEqual(after[5]);
        made.client.close();
      }
    }
  });

  it("is asked for again where it was cut, after a pause", async () => {
    const { gateway, store, errors } = await asking();
    gateway.snapshotOf("bookings").ready().page([{ id: 9 }], false).cut();
    expect(store.state).toMatchObject({ loading: true, error: { code: "unavailable" } });
    await pass(999);
    expect(gateway.active).toHaveLength(1);
    await pass(1);
    gateway.snapshotOf("bookings").rows([{ id: 1 }]);
    expect(keys(store)).toEqual([1]);
    expect(store.state.error).toBeNull();
    expect(errors).toHaveLength(1);
  });

  it.each([
    ["503", (request: MockRequest) => request.refuse(503, { retryMs: 5000 })],
    ["reconnect", (request: MockRequest) => request.ready().send("reconnect", { reason: "overload", retry: 5000 })],
  ])("waits as long as %s says", async (_what, answer) => {
    const { gateway } = await asking();
    answer(gateway.snapshotOf("bookings"));
    await pass(4999);
    expect(gateway.active).toHaveLength(1);
    await pass(1);
    expect(gateway.active).toHaveLength(2);
  });

  it("is asked for again where a page is malformed, for it may have had rows", async () => {
    const { gateway, errors } = await asking();
    gateway.snapshotOf("bookings").ready().send("snapshot", "{", "none-0");
    await pass(1000);
    expect(gateway.snapshotOf("bookings").state).toBe("waiting");
    expect(errors.map(({ code }) => code)).toEqual(["malformed", "malformed"]);
  });

  it("renews a token that is refused, once", async () => {
    const { gateway, store } = await asking();
    gateway.snapshotOf("bookings").refuse(401);
    await pass();
    gateway.snapshotOf("bookings").refuse(401);
    await pass(100_000);
    expect(gateway.active).toHaveLength(0 + 1);
    expect(store.state.error).toMatchObject({ code: "unauthorized" });
  });

  it("is not asked for again where it is refused for good, until the connection comes back", async () => {
    const { gateway, store, main } = await asking();
    gateway.snapshotOf("bookings").refuse(400, { detail: "no snapshot" });
    await pass(20_000);
    expect(gateway.active).toEqual([main]);
    expect(store.state).toMatchObject({ loading: true, error: { code: "bad-request", message: "no snapshot" } });
    main.cut();
    await pass(1000);
    gateway.main.ready();
    await pass();
    gateway.snapshotOf("bookings").rows([]);
    expect(store.state).toMatchObject({ loading: false, error: null });
  });

  it("fails where nothing comes of it", async () => {
    const { gateway, main, store } = await asking();
    gateway.snapshotOf("bookings").accept();
    await pass(20_000);
    main.heartbeat();
    await pass(10_000);
    expect(store.state.error).toMatchObject({ code: "unavailable", message: "silence" });
  });
});
