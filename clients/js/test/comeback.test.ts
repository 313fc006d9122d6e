import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { connected, listen, pass, setup } from "./support.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("coming back", () => {
  it("doubles its pauses up to the longest, and begins anew after ready", async () => {
    const { gateway, client } = setup();
    listen(client);
    await pass();
    for (const pause of [1000, 2000, 4000, 8000, 8000]) {
      gateway.main.refuse(500);
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

  it("comes back no earlier than Retry-After or retry says", async () => {
    const { gateway, client } = setup();
    listen(client);
    await pass();
    gateway.main.refuse(429, { retryMs: 20_000 });
    await pass(19_999);
    expect(gateway.active).toEqual([]);
    await pass(1);
    gateway.main.ready().cut(5000);
    await pass(4999);
    expect(gateway.active).toEqual([]);
    await pass(1);
    expect(gateway.active).toHaveLength(1);
  });

  it("comes back behind the last id, whatever event it was of", async () => {
    const { gateway, main } = await connected();
    gateway.position = 7;
    main.checkpoint();
    main.cut();
    await pass(1000);
    expect(gateway.main.lastEventId).toBe("mock-7");
  });

  it("comes back when reconnect says, and that is no error", async () => {
    const { client, gateway, main, errors } = await connected();
    main.reconnect("max-age", 700);
    expect(client.status).toBe("RECONNECTING");
    expect(client.error).toBeNull();
    await pass(699);
    expect(gateway.active).toEqual([]);
    await pass(1);
    expect(gateway.main.lastEventId).toBe("mock-0");
    expect(errors).toEqual([]);
  });

  it("heeds reconnect where it is the first event, and keeps no id that is no place", async () => {
    const { client, gateway } = setup();
    listen(client);
    await pass();
    gateway.main.accept().send("reconnect", { reason: "overload", retry: 15_000 }, "none-0");
    expect(client.status).toBe("CONNECTING");
    await pass(15_000);
    expect(gateway.main.lastEventId).toBeNull();
  });

  it("uses its own pause where reconnect says none", async () => {
    const { gateway, main } = await connected();
    main.send("reconnect", { reason: "slow" });
    await pass(999);
    expect(gateway.active).toEqual([]);
    await pass(1);
    expect(gateway.active).toHaveLength(1);
  });

  it("comes back at once with reconnect, also while it waits", async () => {
    const { client, gateway, main } = await connected();
    main.cut();
    client.reconnect();
    await pass();
    expect(gateway.active).toHaveLength(1);
    await pass(10_000);
    expect(gateway.requests).toHaveLength(2);
  });

  it("asks for a token again where getToken fails", async () => {
    const getToken = vi.fn().mockRejectedValueOnce(new Error("no network")).mockResolvedValue("later");
    const { client, gateway } = setup({ getToken });
    listen(client);
    await pass();
    expect(client.error).toMatchObject({ code: "unavailable", message: "getToken failed" });
    await pass(1000);
    expect(gateway.main.token).toBe("later");
  });

  it("hears no token that comes after it was closed", async () => {
    let give: (token: string) => void = () => undefined;
    const { client, gateway } = setup({ getToken: () => new Promise<string>((resolve) => (give = resolve)) });
    listen(client);
    await pass();
    client.close();
    give("late");
    await pass();
    expect(gateway.requests).toEqual([]);
  });
});

describe("refusals", () => {
  it("renews the token once after a 401", async () => {
    const getToken = vi.fn(({ renew }: { renew: boolean }) => (renew ? "new" : "old"));
    const { client, gateway, errors } = setup({ getToken });
    listen(client);
    await pass();
    expect(gateway.main.token).toBe("old");
    gateway.main.refuse(401);
    await pass();
    expect(gateway.main.token).toBe("new");
    gateway.main.ready();
    expect(errors).toEqual([]);
    // After ready it may be renewed again.
    gateway.main.cut();
    await pass(1000);
    gateway.main.refuse(401);
    await pass();
    expect(gateway.main.token).toBe("new");
  });

  it("gives up after a second 401", async () => {
    const { client, gateway, errors } = setup();
    listen(client);
    await pass();
    gateway.main.refuse(401);
    await pass();
    gateway.main.refuse(401, { detail: "the token has expired" });
    await pass(100_000);
    expect(client.status).toBe("DISCONNECTED");
    expect(client.error).toMatchObject({ code: "unauthorized", status: 401, message: "the token has expired" });
    expect(errors).toHaveLength(1);
    expect(gateway.requests).toHaveLength(2);
    // A token that is not good is good for no stream.
    listen(client, "services");
    await pass(1000);
    expect(gateway.requests).toHaveLength(2);
    client.reconnect();
    await pass();
    expect(gateway.main.streams).toEqual(["bookings", "services"]);
  });

  it("gives up at once where cookies say who is there", async () => {
    const { client, gateway } = setup({ getToken: undefined as never });
    listen(client);
    await pass();
    expect(gateway.main.token).toBeNull();
    gateway.main.refuse(401);
    expect(client.status).toBe("DISCONNECTED");
  });

  it.each([
    [403, "forbidden"],
    [400, "bad-request"],
    [404, "bad-request"],
  ])("gives up after a %i, and tries again when other streams are wanted", async (status, code) => {
    const { client, gateway } = setup();
    const told = listen(client, "changes");
    listen(client);
    await pass();
    gateway.main.refuse(status);
    expect(client.status).toBe("DISCONNECTED");
    expect(client.error).toMatchObject({ code, status });
    await pass(100_000);
    expect(gateway.active).toEqual([]);
    told.stop();
    await pass();
    gateway.main.ready();
    expect(client.status).toBe("CONNECTED");
  });

  it.each([408, 425, 429, 500, 502, 503])("comes back after a %i", async (status) => {
    const { client, gateway } = setup();
    listen(client);
    await pass();
    gateway.main.refuse(status);
    await pass(1000);
    expect(gateway.active).toHaveLength(1);
  });

  it("stays away after a 204, and that is no error", async () => {
    const { client, gateway, errors } = setup();
    listen(client);
    await pass();
    gateway.main.refuse(204);
    await pass(100_000);
    listen(client, "services");
    await pass();
    expect(client.status).toBe("DISCONNECTED");
    expect(client.error).toBeNull();
    expect(gateway.requests).toHaveLength(1);
    expect(errors).toEqual([]);
  });
});
