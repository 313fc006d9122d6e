import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { connected, listen, pass, setup } from "./support.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("tokens that end", () => {
  it("renews one that is about to, without a new connection", async () => {
    const getToken = vi.fn(({ renew }: { renew: boolean }) => (renew ? "new" : "old"));
    const { gateway, main, client } = await connected({ getToken });
    main.expiring();
    await pass();
    expect(gateway.posts).toEqual([{ url: "http://mock/streams/connections/c0ffee00c0ffee00/token", token: "new" }]);
    expect(client.status).toBe("CONNECTED");
    expect(gateway.requests).toHaveLength(1);
  });

  it.each([
    ["is refused", 403, "new"],
    ["is none", 204, null],
  ])("reports it where the newer one %s", async (_what, status, token) => {
    const { gateway, main, errors } = await connected({ getToken: ({ renew }) => (renew ? token : "old") });
    gateway.postStatus = status;
    main.expiring();
    await pass();
    expect(errors).toMatchObject([{ code: "unavailable", message: "token not renewed" }]);
  });

  it.each([
    ["comes back", 1],
    ["is closed", 0],
  ])("gives no newer token to a connection that is over, where the client %s meanwhile", async (_what, active) => {
    const give: ((token: string) => void)[] = [];
    const { client, gateway, main } = await connected({ getToken: ({ renew }) => (renew ? new Promise((resolve) => give.push(resolve)) : "old") });
    main.expiring();
    await pass();
    if (active) client.reconnect();
    else client.close();
    await pass();
    if (active) gateway.main.ready();
    give[0]?.("former");
    await pass();
    expect(gateway.posts).toEqual([]);
    expect(gateway.active).toHaveLength(active);
  });

  it("does nothing about it with cookies", async () => {
    const { gateway, main, errors } = await connected({ getToken: undefined as never });
    main.expiring();
    await pass();
    expect(gateway.posts).toEqual([]);
    expect(errors).toEqual([]);
  });

  it("comes back with another one after closed for expiry", async () => {
    const { gateway, main, client } = await connected({ getToken: ({ renew }) => (renew ? "new" : "old") });
    main.closed("expired");
    expect(client.status).toBe("RECONNECTING");
    await pass(1000);
    expect(gateway.main.token).toBe("new");
    expect(gateway.main.lastEventId).toBe("mock-0");
  });

  it("gives up where that one is refused too", async () => {
    const { gateway, main, client } = await connected();
    main.closed("expired");
    await pass(1000);
    gateway.main.refuse(401);
    expect(client.status).toBe("DISCONNECTED");
    expect(client.error).toMatchObject({ code: "unauthorized" });
  });

  it.each([
    ["revoked", "unauthorized"],
    ["forbidden", "forbidden"],
  ] as const)("stays away after closed, %s", async (reason, code) => {
    const { gateway, main, client } = await connected();
    main.closed(reason);
    await pass(100_000);
    expect(client.status).toBe("DISCONNECTED");
    expect(client.error).toMatchObject({ code });
    expect(gateway.requests).toHaveLength(1);
  });

  it("stays away after closed for expiry with cookies", async () => {
    const { main, client } = await connected({ getToken: undefined as never });
    main.closed("expired");
    expect(client.error).toMatchObject({ code: "unauthorized" });
  });

  it.each([null, ""])("asks for nothing with %j instead of a token, and never with cookies", async (none) => {
    const getToken = vi.fn(() => none);
    const { client, gateway, errors } = setup({ getToken });
    listen(client);
    await pass(100_000);
    expect(getToken.mock.calls).toEqual([[{ renew: false }], [{ renew: true }]]);
    expect(gateway.requests).toEqual([]);
    expect(client.status).toBe("DISCONNECTED");
    expect(errors).toMatchObject([{ code: "unauthorized", message: "no token" }]);
  });

  it("goes on with a renewed one where the first was none", async () => {
    const { client, gateway } = setup({ getToken: ({ renew }) => (renew ? "new" : null) });
    listen(client);
    await pass();
    expect(gateway.main.token).toBe("new");
  });

  it("does not take the former user's token that is still on its way", async () => {
    const give: ((token: string) => void)[] = [];
    const { client, gateway } = setup({ getToken: () => new Promise<string>((resolve) => give.push(resolve)) });
    listen(client);
    await pass();
    client.reconnect();
    await pass();
    give[0]?.("former");
    await pass();
    expect(gateway.requests).toEqual([]);
    give[1]?.("present");
    await pass();
    expect(gateway.main.token).toBe("present");
  });
});

describe("silence", () => {
  it("takes a connection for dead after three heartbeats without a byte", async () => {
    const { client, gateway } = setup();
    listen(client);
    await pass();
    const main = gateway.main.ready({ heartbeat: 8 });
    await pass(23_000);
    main.heartbeat();
    await pass(23_999);
    expect(client.status).toBe("CONNECTED");
    await pass(1);
    expect(client.status).toBe("RECONNECTING");
    expect(main.state).toBe("closed");
    await pass(1000);
    expect(gateway.main.lastEventId).toBe("mock-0");
  });

  it("waits as long as it is told", async () => {
    const { client } = await connected({ heartbeatTimeoutMs: 5000 });
    await pass(5000);
    expect(client.status).toBe("RECONNECTING");
  });

  it("waits half a minute for ready", async () => {
    const { client, gateway } = setup();
    listen(client);
    await pass();
    gateway.main.accept();
    await pass(30_000);
    expect(client.error).toMatchObject({ code: "unavailable" });
  });

  it("waits for five minutes where heartbeats cannot be seen, for checkpoints come", async () => {
    const { client, gateway } = setup();
    Object.defineProperty(gateway, "seesHeartbeats", { value: false });
    listen(client);
    await pass();
    const main = gateway.main.ready();
    await pass(200_000);
    main.checkpoint();
    await pass(299_000);
    expect(client.status).toBe("CONNECTED");
    await pass(1000);
    expect(client.status).toBe("RECONNECTING");
  });

  it("waits as long as it is told there too", async () => {
    const { client, gateway } = setup({ heartbeatTimeoutMs: 150_000 });
    Object.defineProperty(gateway, "seesHeartbeats", { value: false });
    listen(client);
    await pass();
    gateway.main.ready();
    await pass(150_000);
    expect(client.status).toBe("RECONNECTING");
  });

  it("of getToken ends an attempt, and the next one asks again", async () => {
    const getToken = vi
      .fn<() => Promise<string>>()
      .mockImplementationOnce(() => new Promise(() => undefined))
      .mockResolvedValue("later");
    const { client, gateway } = setup({ getToken });
    listen(client);
    await pass(30_000);
    expect(client.error).toMatchObject({ code: "unavailable", message: "silence" });
    await pass(1000);
    expect(gateway.main.token).toBe("later");
  });
});
