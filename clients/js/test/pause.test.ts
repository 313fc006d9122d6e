// @vitest-environment jsdom
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { connected, listen, pass, setup } from "./support.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function see(): void {
  vi.spyOn(document, "visibilityState", "get").mockReturnValue("visible");
  document.dispatchEvent(new Event("visibilitychange"));
}

it("who wants other streams in a pause gets them after it", async () => {
  const { client, gateway } = setup();
  listen(client);
  await pass();
  gateway.main.refuse(429, { retryMs: 20_000 });
  listen(client, "services");
  await pass(19_999);
  expect(gateway.active).toEqual([]);
  expect(client.error).toMatchObject({ status: 429 });
  await pass(1);
  expect(gateway.main.streams).toEqual(["bookings", "services"]);
});

it("a pause that the gateway asked for is kept, whoever looks at the page and whatever network there is", async () => {
  const { client, gateway } = setup();
  listen(client);
  await pass();
  gateway.main.refuse(503, { retryMs: 20_000 });
  see();
  window.dispatchEvent(new Event("online"));
  await pass(19_999);
  expect(gateway.active).toEqual([]);
  await pass(1);
  gateway.main.ready().reconnect("overload", 15_000);
  see();
  await pass(14_999);
  expect(gateway.active).toEqual([]);
  await pass(1);
  // One of the client's own is not.
  gateway.main.cut();
  see();
  await pass();
  expect(gateway.active).toHaveLength(1);
});

it.each([0, -1000])("reconnect with %i is no round without a pause", async (retry) => {
  const { gateway, main } = await connected();
  main.reconnect("drain", retry);
  await pass(499);
  expect(gateway.active).toEqual([]);
  await pass(1);
  expect(gateway.active).toHaveLength(1);
});

it("pauses grow where the connection is cut right after ready, until one holds", async () => {
  const { gateway, client } = setup();
  listen(client);
  await pass();
  for (const pause of [1000, 2000, 4000]) {
    gateway.main.ready().cut();
    await pass(pause - 1);
    expect(gateway.active).toEqual([]);
    await pass(1);
  }
  const main = gateway.main.ready();
  await pass(5000);
  main.cut();
  await pass(1000);
  expect(gateway.active).toHaveLength(1);
});

it("a ready that cannot be read ends the attempt, however alive it is", async () => {
  const { client, gateway, errors } = setup();
  listen(client);
  await pass();
  for (const pause of [1000, 2000]) {
    const main = gateway.main.accept().send("ready", "{ no JSON");
    expect(main.state).toBe("closed");
    expect(client.status).toBe("CONNECTING");
    expect(client.error).toMatchObject({ code: "malformed", message: "malformed ready" });
    await pass(pause - 1);
    expect(gateway.active).toEqual([]);
    await pass(1);
  }
  expect(errors.map(({ code }) => code)).toEqual(["malformed", "malformed", "malformed", "malformed"]);
  gateway.main.ready();
  expect(client.status).toBe("CONNECTED");
});
