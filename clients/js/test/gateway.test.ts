/**
 * A real gateway, where there is one: `ROWCAST_TEST_URL`, and `ROWCAST_TEST_TOKEN` of a user whose bookings change meanwhile.
 */

import { describe, expect, it, onTestFinished, vi } from "vitest";

import { createRealtimeClient } from "../src/index.js";
import type { ClientOptions, RealtimeClient, RealtimeError, RealtimeEvent } from "../src/types.js";

const url = process.env["ROWCAST_TEST_URL"];
const token = process.env["ROWCAST_TEST_TOKEN"];
const PATIENCE = { timeout: 60_000, interval: 20 };

function connect(options: Partial<ClientOptions> = {}): { client: RealtimeClient; errors: RealtimeError[] } {
  const errors: RealtimeError[] = [];
  const client = createRealtimeClient({ url: url ?? "", getToken: () => token ?? "", onError: (error) => errors.push(error), ...options });
  onTestFinished(() => client.close());
  return { client, errors };
}

describe.runIf(url && token)("a real gateway", { timeout: 120_000 }, () => {
  it("gives the rows, and keeps them as they change: all that come are what another snapshot has", async () => {
    const { client, errors } = connect();
    const events: RealtimeEvent[] = [];
    const store = client.table("bookings", { onChange: (event) => events.push(event) });
    onTestFinished(store.subscribe(() => undefined));
    await vi.waitFor(() => expect(store.state.loading).toBe(false), PATIENCE);
    expect(store.state.rows.length).toBeGreaterThan(1);
    await vi.waitFor(() => expect(events.length).toBeGreaterThan(2), PATIENCE);
    for (const { change } of events) expect(change).toMatchObject({ schema: "public", table: "bookings", type: "UPDATE" });
    // Rows of another client have to become the same, with the same last id.
    const other = connect().client.table("bookings");
    onTestFinished(other.subscribe(() => undefined));
    await vi.waitFor(() => {
      expect(other.state.loading).toBe(false);
      expect(other.state.rows).toEqual(store.state.rows);
    }, PATIENCE);
    expect(errors).toEqual([]);
  });

  it("resumes behind the last id: nothing is missed, and nothing comes twice", async () => {
    const all: string[] = [];
    const { client: steady } = connect();
    steady.listen("bookings", { onEvent: ({ id }) => all.push(id) });
    const mine: string[] = [];
    const { client, errors } = connect({ backoff: { initialMs: 1 } });
    client.listen("bookings", { onEvent: ({ id }) => mine.push(id) });
    await vi.waitFor(() => expect([steady.status, client.status]).toEqual(["CONNECTED", "CONNECTED"]), PATIENCE);
    for (let round = 0; round < 3; round += 1) {
      const { length } = all;
      await vi.waitFor(() => expect(all.length).toBeGreaterThan(length), PATIENCE);
      client.close();
      await vi.waitFor(() => expect(all.length).toBeGreaterThan(length + 1), PATIENCE);
      client.reconnect();
      await vi.waitFor(() => expect(client.status).toBe("CONNECTED"), PATIENCE);
    }
    await vi.waitFor(() => expect(mine.at(-1)).toBe(all.at(-1)), PATIENCE);
    const from = all.indexOf(mine[0] ?? "");
    expect(from).toBeGreaterThanOrEqual(0);
    expect(mine).toEqual(all.slice(from));
    expect(errors).toEqual([]);
  });

  it("has properties through several filters at once, judged here as there", async () => {
    const [one, several] = [connect(), connect()];
    const filter = "status=eq.available&price=gt.1000000";
    const apart = one.client.table("properties", { filter });
    const judged = several.client.table("properties", { filter });
    const all = several.client.table("properties", { filter: "status=neq.sold" });
    for (const store of [apart, judged, all]) onTestFinished(store.subscribe(() => undefined));
    const events: string[] = [];
    several.client.on("property-updated", (_change, { id }) => events.push(id));
    await vi.waitFor(() => expect(events.length).toBeGreaterThan(1), PATIENCE);
    await vi.waitFor(() => {
      expect(judged.state.loading).toBe(false);
      expect(judged.state.rows).toEqual(apart.state.rows);
      expect(judged.state.rows.length).toBeGreaterThan(0);
      expect(all.state.rows.length).toBeGreaterThan(0);
    }, PATIENCE);
    expect([...one.errors, ...several.errors]).toEqual([]);
  });

  it("resets who comes with an id that it does not know", async () => {
    vi.stubGlobal("localStorage", { getItem: () => "gone-17", setItem: () => undefined });
    onTestFinished(() => void vi.unstubAllGlobals());
    const { client } = connect({ resume: "test" });
    const reasons: string[] = [];
    client.listen("bookings", { onEvent: () => undefined, onReset: (reason) => reasons.push(reason) });
    await vi.waitFor(() => expect(reasons).toEqual(["epoch"]), PATIENCE);
    expect(client.status).toBe("CONNECTED");
  });

  it("refuses for good: a token that is none, and a stream that is another role's", async () => {
    const bad = connect({ getToken: () => "no token" }).client;
    bad.listen("bookings", { onEvent: () => undefined });
    await vi.waitFor(() => expect(bad.status).toBe("DISCONNECTED"), PATIENCE);
    expect(bad.error).toMatchObject({ code: "unauthorized", status: 401 });
    const curious = connect().client;
    curious.listen("changes", { onEvent: () => undefined });
    await vi.waitFor(() => expect(curious.error).toMatchObject({ code: "forbidden", status: 403 }), PATIENCE);
  });

  it("takes a newer token for an open stream", async () => {
    const { fetchTransport } = await import("../src/fetch.js");
    const opened = await new Promise<string>((resolve) => {
      const handle = fetchTransport.open(
        { url: `${url}/streams/bookings?format=raw`, token: token ?? "", lastEventId: null, events: [] },
        { onOpen: () => undefined, onAlive: () => undefined, onEnd: () => undefined, onMessage: ({ data }) => resolve((JSON.parse(data) as { connection: string }).connection) },
      );
      onTestFinished(() => handle.close());
    });
    expect(await fetchTransport.post(`${url}/streams/connections/${opened}/token`, token ?? "")).toBe(204);
    expect(await fetchTransport.post(`${url}/streams/connections/0000000000000000/token`, token ?? "")).toBe(404);
  });
});
