import { afterEach, beforeEach, expect, it, vi } from "vitest";

import type { PostgresChange } from "../src/types.js";
import { loaded, pass, setup } from "./support.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it("hands on what realtime-js hands on", async () => {
  const { client, gateway } = setup();
  const payloads: PostgresChange[] = [];
  client.channel("bookings").on("postgres_changes", { event: "*", schema: "public" }, (payload) => payloads.push(payload)).subscribe();
  await loaded();
  gateway.main.ready();
  gateway.insert("bookings", { id: 1 });
  gateway.update("bookings", { id: 1, v: 2 }, { id: 1 });
  gateway.remove("bookings", { id: 1 });
  expect(payloads.map(({ eventType, new: now, old }) => [eventType, now, old])).toEqual([
    ["INSERT", { id: 1 }, {}],
    ["UPDATE", { id: 1, v: 2 }, { id: 1 }],
    ["DELETE", {}, { id: 1 }],
  ]);
  expect(payloads[0]).toMatchObject({ schema: "public", table: "bookings", errors: null, commit_timestamp: expect.any(String) });
});

it("listens to the table's stream, to one kind of event, and through a filter in which a comma means and", async () => {
  const { client, gateway } = setup();
  const updates = vi.fn();
  const elsewhere = vi.fn();
  client
    .channel("any name")
    .on("postgres_changes", { event: "UPDATE", table: "services", filter: "price=lt.100,name=in.(a,b)" }, updates)
    .on("postgres_changes", { event: "*", schema: "private", table: "services", filter: "price=lt.100,name=in.(a,b)" }, elsewhere)
    .subscribe();
  await loaded();
  expect(gateway.main.streams).toEqual(["services"]);
  expect(gateway.main.filter("services")).toEqual(["price=lt.100", "name=in.(a,b)"]);
  gateway.main.ready();
  gateway.insert("services", { id: 1 });
  gateway.update("services", { id: 1 });
  expect(updates).toHaveBeenCalledTimes(1);
  expect(elsewhere).not.toHaveBeenCalled();
});

it("says how it is", async () => {
  const { client, gateway } = setup();
  const said: string[] = [];
  const channel = client.channel("bookings").on("postgres_changes", { event: "*" }, () => undefined);
  channel.on("postgres_changes", { event: "*", table: "services" }, () => undefined);
  expect(channel.subscribe((status) => said.push(status))).toBe(channel);
  channel.subscribe(() => said.push("twice"));
  await loaded();
  gateway.main.refuse(503);
  await pass(1000);
  gateway.main.ready().cut();
  await pass(2000);
  gateway.main.ready();
  client.close();
  channel.unsubscribe();
  await pass();
  channel.unsubscribe();
  await pass();
  expect(said).toEqual(["TIMED_OUT", "SUBSCRIBED", "CHANNEL_ERROR", "SUBSCRIBED", "CLOSED", "CLOSED"]);
});

it("says SUBSCRIBED once, also where the connection is opened anew for other streams", async () => {
  const { client, gateway } = setup();
  const said: string[] = [];
  const channel = client.channel("bookings").on("postgres_changes", { event: "*" }, () => undefined);
  channel.on("postgres_changes", { event: "INSERT" }, () => undefined).subscribe((status) => said.push(status));
  await loaded();
  gateway.main.ready();
  client.listen("services", { onEvent: () => undefined });
  await pass();
  gateway.main.ready();
  expect(gateway.main.streams).toEqual(["bookings", "services"]);
  expect(said).toEqual(["SUBSCRIBED"]);
});

it("says CHANNEL_ERROR to who subscribes on a client that was refused already", async () => {
  const { client, gateway } = setup({ getToken: undefined as never });
  client.listen("bookings", { onEvent: () => undefined });
  await pass();
  gateway.main.refuse(401);
  const said: unknown[] = [];
  const channel = client.channel("services").on("postgres_changes", { event: "*" }, () => undefined);
  channel.subscribe((status, error) => said.push([status, error]));
  await loaded();
  expect(said).toEqual([["CHANNEL_ERROR", client.error]]);
  expect(client.error).toMatchObject({ code: "unauthorized" });
  channel.unsubscribe();
});

it("listens no longer after unsubscribe, even where it had not begun yet", async () => {
  const { client, gateway } = setup();
  const channel = client.channel("bookings").on("postgres_changes", { event: "*" }, () => undefined).subscribe();
  channel.unsubscribe();
  await loaded();
  expect(gateway.active).toEqual([]);
  channel.subscribe();
  await loaded();
  expect(gateway.active).toHaveLength(1);
});

it("says CHANNEL_ERROR once where history is lost, and SUBSCRIBED again", async () => {
  const { client, gateway } = setup();
  const said: string[] = [];
  const channel = client.channel("bookings").on("postgres_changes", { event: "*" }, () => undefined);
  channel.on("postgres_changes", { event: "*", table: "services" }, () => undefined);
  channel.subscribe((status, error) => said.push(error ? `${status} ${error.message}` : status));
  await loaded();
  gateway.main.ready().cut();
  await pass(1000);
  said.length = 0;
  gateway.main.ready({ status: "reset" }).reset("retention");
  await pass();
  expect(said).toEqual(["SUBSCRIBED", "CHANNEL_ERROR history lost: retention", "SUBSCRIBED"]);
});

it("says no SUBSCRIBED to who unsubscribes because history is lost", async () => {
  const { client, gateway } = setup();
  const said: string[] = [];
  const channel = client.channel("bookings").on("postgres_changes", { event: "*" }, () => undefined);
  channel.subscribe((status) => {
    said.push(status);
    if (status === "CHANNEL_ERROR") channel.unsubscribe();
  });
  await loaded();
  gateway.main.ready().reset();
  await pass();
  expect(said).toEqual(["SUBSCRIBED", "CHANNEL_ERROR", "CLOSED"]);
});
