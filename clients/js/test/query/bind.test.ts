import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { describe, expect, it, onTestFinished, vi } from "vitest";

import { bindQueryClient } from "../../src/query/index.js";
import type { Binding } from "../../src/query/index.js";
import { booking, ids, mains, setting, settle } from "../react/support.js";

function cache(): QueryClient {
  const queryClient = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  queryClient.mount();
  onTestFinished(() => {
    queryClient.clear();
    queryClient.unmount();
  });
  return queryClient;
}

/** Binds, and waits until the connection has the stream. */
async function bound(binding: Binding, queryClient = cache()) {
  const { gateway, client } = setting();
  const stop = bindQueryClient(queryClient, client, { bookings: binding });
  onTestFinished(stop);
  const main = await gateway.next();
  main.ready();
  await settle();
  return { gateway, queryClient, stop, main };
}

/** Keeps a query in use, as a component does, and says how often it was fetched. */
function observe(queryClient: QueryClient, queryKey: readonly unknown[], queryFn: () => Promise<unknown>) {
  const fetches = vi.fn(queryFn);
  const stop = new QueryObserver(queryClient, { queryKey, queryFn: fetches, staleTime: Infinity }).subscribe(() => undefined);
  onTestFinished(stop);
  return fetches;
}

/** A fetch whose answer the test gives. */
function pending() {
  const answers: { resolve(data: unknown): void; reject(error: Error): void }[] = [];
  return { answers, fetch: () => new Promise((resolve, reject) => answers.push({ resolve, reject })) };
}

const LIST = ["bookings"];

describe("a bound query", () => {
  it("follows inserts, updates and deletes, and rows that have left", async () => {
    const { gateway, queryClient } = await bound(LIST);
    queryClient.setQueryData(LIST, [booking(1), booking(2), booking(3)]);
    gateway.insert("bookings", booking(4));
    gateway.update("bookings", booking(1, "confirmed"));
    gateway.remove("bookings", booking(2));
    gateway.remove("bookings", { id: 3 }, { left: true });
    expect(queryClient.getQueryData(LIST)).toEqual([booking(1, "confirmed"), booking(4)]);
  });

  it("is any whose key begins so, and no other; foreign shapes stay as they are", async () => {
    const { gateway, queryClient } = await bound(LIST);
    const foreign = { count: 1, one: booking(1), pages: { pages: [[booking(1)]] }, names: ["a"], keyless: [{ status: "pending" }] };
    for (const [name, data] of Object.entries(foreign)) queryClient.setQueryData(["bookings", name], data);
    queryClient.setQueryData(["bookings", "all"], [booking(1)]);
    queryClient.setQueryData(["bookings", "empty"], []);
    queryClient.setQueryData(["services"], [booking(1)]);
    gateway.insert("bookings", booking(2));
    gateway.update("bookings", booking(1, "confirmed"));
    expect(queryClient.getQueryData(["bookings", "all"])).toEqual([booking(1, "confirmed"), booking(2)]);
    expect(queryClient.getQueryData(["bookings", "empty"])).toEqual([booking(2)]);
    expect(queryClient.getQueryData(["services"])).toEqual([booking(1)]);
    for (const [name, data] of Object.entries(foreign)) expect(queryClient.getQueryData(["bookings", name])).toBe(data);
  });

  it("may be one key alone, part of the rows, in an order, with another key column", async () => {
    const { gateway, queryClient, main } = await bound({
      key: LIST,
      exact: true,
      filter: "status=eq.pending",
      rowKey: ["id"],
      compare: (a, b) => Number(b["id"]) - Number(a["id"]),
    });
    expect(main.filter("bookings")).toEqual(["status=eq.pending"]);
    queryClient.setQueryData(LIST, [booking(1)]);
    queryClient.setQueryData(["bookings", 2], [booking(1)]);
    gateway.insert("bookings", booking(2));
    expect(ids(queryClient.getQueryData(LIST) ?? [])).toEqual([2, 1]);
    expect(ids(queryClient.getQueryData(["bookings", 2]) ?? [])).toEqual([1]);
  });

  it("of another shape is what `apply` makes of it, and is not touched where that is the same", async () => {
    const { gateway, queryClient } = await bound({
      key: ["count"],
      apply: (data, { type }, key) => (key.length === 1 && type === "INSERT" ? (data as number) + 1 : data),
    });
    queryClient.setQueryData(["count"], 5);
    queryClient.setQueryData(["count", "other"], 5);
    const before = queryClient.getQueryState(["count", "other"])?.dataUpdateCount;
    gateway.insert("bookings", booking(2));
    gateway.update("bookings", booking(2, "confirmed"));
    expect(queryClient.getQueryData(["count"])).toBe(6);
    expect(queryClient.getQueryState(["count", "other"])?.dataUpdateCount).toBe(before);
  });

  it("is left alone after the binding has been stopped", async () => {
    const { gateway, queryClient, stop, main } = await bound({ key: LIST, invalidate: true });
    const fetches = observe(queryClient, LIST, async () => [booking(1)]);
    await settle();
    gateway.insert("bookings", booking(2));
    stop();
    await settle();
    expect(fetches).toHaveBeenCalledTimes(1);
    await vi.waitFor(() => expect(main.state).toBe("closed"), 10_000);
  });
});

describe("a bound query is fetched again", () => {
  it("once for changes that come together, where changes are to invalidate it", async () => {
    const { gateway, queryClient } = await bound({ key: LIST, invalidate: true });
    const fetches = observe(queryClient, LIST, async () => 5);
    await settle();
    gateway.insert("bookings", booking(2));
    gateway.insert("bookings", booking(3));
    await settle();
    expect(fetches).toHaveBeenCalledTimes(2);
    expect(queryClient.getQueryData(LIST)).toBe(5);
  });

  it("at a reset", async () => {
    const { queryClient, main } = await bound(LIST);
    const fetches = observe(queryClient, LIST, async () => [booking(1)]);
    await settle();
    main.reset();
    await settle();
    expect(fetches).toHaveBeenCalledTimes(2);
  });

  it("where the row was too large to be told", async () => {
    const { gateway, queryClient, main } = await bound(LIST);
    const fetches = observe(queryClient, LIST, async () => [booking(1)]);
    await settle();
    gateway.position += 1;
    main.send("bookings", {
      version: 1,
      type: "UPDATE",
      schema: "public",
      table: "bookings",
      commit_timestamp: "",
      record: { id: 1 },
      old_record: { id: 1 },
      columns: [],
      truncated: true,
    });
    await settle();
    expect(fetches).toHaveBeenCalledTimes(2);
  });

  it("where it was fetched before the stream was there, and not after a reconnect", async () => {
    const queryClient = cache();
    const { gateway, client } = setting({}, { backoff: { initialMs: 1, maxMs: 1 } });
    onTestFinished(bindQueryClient(queryClient, client, { bookings: LIST }));
    const fetches = observe(queryClient, LIST, async () => [booking(1)]);
    await settle();
    expect(fetches).toHaveBeenCalledTimes(1);
    (await gateway.next()).ready();
    await settle();
    expect(fetches).toHaveBeenCalledTimes(2);
    gateway.main.cut();
    (await gateway.next()).ready();
    await settle();
    expect(mains(gateway)).toHaveLength(2);
    expect(fetches).toHaveBeenCalledTimes(2);
  });

  it("where its first fetch was on its way when the stream came", async () => {
    const queryClient = cache();
    const { gateway, client } = setting();
    onTestFinished(bindQueryClient(queryClient, client, { bookings: LIST }));
    const { answers, fetch } = pending();
    const fetches = observe(queryClient, LIST, fetch);
    (await gateway.next()).ready();
    await settle();
    expect(fetches).toHaveBeenCalledTimes(1);
    answers[0]?.resolve([booking(1)]);
    await settle();
    expect(fetches).toHaveBeenCalledTimes(2);
    answers[1]?.resolve([booking(1), booking(2)]);
    await settle();
    expect(ids(queryClient.getQueryData(LIST) ?? [])).toEqual([1, 2]);
  });
});

describe("what comes while a query is fetched", () => {
  it("is not lost where the answer is older", async () => {
    const { gateway, queryClient } = await bound(LIST);
    const { answers, fetch } = pending();
    observe(queryClient, LIST, fetch);
    gateway.update("bookings", booking(1, "confirmed"));
    gateway.insert("bookings", booking(2));
    gateway.update("bookings", booking(1, "completed"));
    answers[0]?.resolve([booking(1)]);
    await settle();
    expect(queryClient.getQueryData(LIST)).toEqual([booking(1, "completed"), booking(2)]);
  });

  it("is shown at once where there are rows already", async () => {
    const { gateway, queryClient } = await bound(LIST);
    const { answers, fetch } = pending();
    queryClient.setQueryData(LIST, [booking(1)]);
    observe(queryClient, LIST, fetch);
    void queryClient.refetchQueries({ queryKey: LIST });
    gateway.insert("bookings", booking(2));
    expect(ids(queryClient.getQueryData(LIST) ?? [])).toEqual([1, 2]);
    answers[0]?.resolve([booking(1)]);
    await settle();
    expect(ids(queryClient.getQueryData(LIST) ?? [])).toEqual([1, 2]);
  });

  it("is forgotten with a fetch that fails: the query has it, or waits for another fetch", async () => {
    const { gateway, queryClient, main } = await bound(LIST);
    const { answers, fetch } = pending();
    queryClient.setQueryData(LIST, [booking(1)]);
    observe(queryClient, LIST, fetch);
    main.reset();
    gateway.insert("bookings", booking(2));
    expect(ids(queryClient.getQueryData(LIST) ?? [])).toEqual([1]);
    answers[0]?.reject(new Error("away"));
    await settle();
    expect(queryClient.getQueryState(LIST)?.isInvalidated).toBe(true);
    void queryClient.refetchQueries({ queryKey: LIST });
    answers[1]?.resolve([booking(3)]);
    await settle();
    expect(ids(queryClient.getQueryData(LIST) ?? [])).toEqual([3]);
  });

  it("stays where the fetch is cancelled, and is not applied again to what a later one brings", async () => {
    const { gateway, queryClient } = await bound(LIST);
    const { answers, fetch } = pending();
    queryClient.setQueryData(LIST, [booking(1)]);
    observe(queryClient, LIST, fetch);
    void queryClient.refetchQueries({ queryKey: LIST });
    gateway.insert("bookings", booking(2));
    await queryClient.cancelQueries({ queryKey: LIST });
    expect(ids(queryClient.getQueryData(LIST) ?? [])).toEqual([1, 2]);
    gateway.remove("bookings", booking(2));
    void queryClient.refetchQueries({ queryKey: LIST });
    answers.at(-1)?.resolve([booking(1)]);
    await settle();
    expect(ids(queryClient.getQueryData(LIST) ?? [])).toEqual([1]);
  });

  it("is nothing where a first fetch is cancelled", async () => {
    const { gateway, queryClient } = await bound({ key: LIST, apply: () => "made of nothing" });
    const { fetch } = pending();
    observe(queryClient, LIST, fetch);
    gateway.insert("bookings", booking(2));
    await queryClient.cancelQueries({ queryKey: LIST });
    expect(queryClient.getQueryData(LIST)).toBeUndefined();
  });

  it("does not make look fresh what waits to be fetched again", async () => {
    const { gateway, queryClient } = await bound(LIST);
    queryClient.setQueryData(LIST, [booking(1)]);
    await queryClient.invalidateQueries({ queryKey: LIST });
    gateway.insert("bookings", booking(2));
    expect(queryClient.getQueryState(LIST)?.isInvalidated).toBe(true);
  });
});
