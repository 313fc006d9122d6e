import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { describe, expect, it, onTestFinished, vi } from "vitest";

import { bindQueryClient, realtimeQueryOptions } from "../../src/query/index.js";
import { booking, ids, setting, settle, snapshots } from "../react/support.js";

function observe(queryClient: QueryClient, options: ReturnType<typeof realtimeQueryOptions>) {
  const observer = new QueryObserver(queryClient, options);
  onTestFinished(observer.subscribe(() => undefined));
  onTestFinished(() => queryClient.clear());
  return observer;
}

describe("realtimeQueryOptions", () => {
  it("fetches the rows once, and the binding keeps them up to date", async () => {
    const { gateway, client } = setting({ rows: { bookings: [booking(1)] } });
    const queryClient = new QueryClient();
    onTestFinished(bindQueryClient(queryClient, client, { bookings: ["bookings"] }));
    const observer = observe(queryClient, realtimeQueryOptions(client, "bookings"));
    await vi.waitFor(() => expect(observer.getCurrentResult().data).toEqual([booking(1)]), 10_000);
    gateway.insert("bookings", booking(2));
    gateway.update("bookings", booking(1, "confirmed"));
    await settle();
    expect(observer.getCurrentResult().data).toEqual([booking(1, "confirmed"), booking(2)]);
    expect(snapshots(gateway)).toHaveLength(1);
  });

  it("fetches anew at a reset, also where a component has the same rows", async () => {
    const { gateway, client } = setting();
    const queryClient = new QueryClient();
    onTestFinished(client.table("bookings").subscribe(() => undefined));
    onTestFinished(bindQueryClient(queryClient, client, { bookings: ["bookings"] }));
    const observer = observe(queryClient, realtimeQueryOptions(client, "bookings"));
    const answer = async (rows: readonly ReturnType<typeof booking>[]) => {
      await settle();
      for (const request of gateway.active) if (request.state === "waiting") request.snapshot ? request.rows(rows) : request.ready();
      await settle();
    };
    await answer([]);
    await answer([booking(1)]);
    expect(observer.getCurrentResult().data).toEqual([booking(1)]);
    gateway.position = 5;
    gateway.main.reset();
    await answer([booking(2)]);
    expect(observer.getCurrentResult().data).toEqual([booking(2)]);
  });

  it("has a key of its own for a filter, which a binding of all rows leaves alone", async () => {
    const { gateway, client } = setting({ rows: { bookings: [] } });
    const queryClient = new QueryClient();
    onTestFinished(bindQueryClient(queryClient, client, { bookings: ["bookings"] }));
    const options = realtimeQueryOptions(client, "bookings", { filter: "status=eq.pending" });
    expect(options.queryKey).toEqual(["bookings", "status=eq.pending"]);
    expect(realtimeQueryOptions(client, "bookings", { queryKey: ["mine"] }).queryKey).toEqual(["mine"]);
    const observer = observe(queryClient, options);
    await vi.waitFor(() => expect(observer.getCurrentResult().isSuccess).toBe(true), 10_000);
    gateway.insert("bookings", booking(1, "confirmed"));
    await settle();
    expect(observer.getCurrentResult().data).toEqual([]);

    onTestFinished(bindQueryClient(queryClient, client, { bookings: { key: options.queryKey, filter: "status=eq.pending" } }));
    await settle();
    gateway.insert("bookings", booking(2));
    await settle();
    expect(ids(observer.getCurrentResult().data ?? [])).toContain(2);
  });

  it("fails where the gateway says no", async () => {
    const { gateway, client } = setting();
    const queryClient = new QueryClient({ defaultOptions: { queries: { retry: false } } });
    const observer = observe(queryClient, realtimeQueryOptions(client, "bookings"));
    (await gateway.next()).refuse(403);
    await vi.waitFor(() => expect(observer.getCurrentResult().error).toMatchObject({ code: "forbidden" }), 10_000);
  });

  it("fails where the rows alone are refused", async () => {
    const { gateway, client } = setting();
    const fetching = realtimeQueryOptions(client, "bookings").queryFn({});
    (await gateway.next()).ready();
    (await gateway.next()).refuse(400);
    await expect(fetching).rejects.toMatchObject({ code: "bad-request" });
  });

  it("lets go where the query is cancelled, also before it has begun", async () => {
    const { gateway, client } = setting();
    const { queryFn } = realtimeQueryOptions(client, "bookings");
    const abort = new AbortController();
    const fetching = queryFn({ signal: abort.signal });
    await gateway.next();
    abort.abort(new Error("cancelled"));
    await expect(fetching).rejects.toThrow("cancelled");
    await expect(queryFn({ signal: abort.signal })).rejects.toThrow("cancelled");
    await vi.waitFor(() => expect(gateway.active).toEqual([]), 10_000);
  });

  it("needs no signal", async () => {
    const { client } = setting({ rows: { bookings: [booking(1)] } });
    await expect(realtimeQueryOptions(client, "bookings").queryFn({})).resolves.toEqual([booking(1)]);
  });
});
