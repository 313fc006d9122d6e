import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { connected, listen, pass, setup } from "./support.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("states", () => {
  it("opens nothing before somebody listens", async () => {
    const { client, gateway } = setup();
    await pass(1000);
    expect(client.status).toBe("DISCONNECTED");
    expect(gateway.requests).toEqual([]);
  });

  it("is CONNECTING until ready, and then CONNECTED", async () => {
    const { client, gateway, statuses } = setup();
    listen(client);
    expect(client.status).toBe("CONNECTING");
    await pass();
    gateway.main.accept();
    expect(client.status).toBe("CONNECTING");
    gateway.main.send("ready", { status: "fresh", connection: "1" });
    expect(statuses).toEqual(["CONNECTING", "CONNECTED"]);
  });

  it("never says RECONNECTING before it was CONNECTED", async () => {
    const { client, gateway, statuses } = setup();
    listen(client);
    await pass();
    gateway.main.refuse(503);
    await pass(1000);
    expect(client.status).toBe("CONNECTING");
    expect(client.error).toMatchObject({ code: "unavailable", status: 503 });
    gateway.main.ready();
    expect(client.error).toBeNull();
    gateway.main.cut();
    expect(client.status).toBe("RECONNECTING");
    expect(client.error).toMatchObject({ code: "unavailable" });
    expect(statuses).toEqual(["CONNECTING", "CONNECTING", "CONNECTED", "RECONNECTING"]);
  });

  it("is DISCONNECTED when nobody listens any more, and begins from now on when somebody does again", async () => {
    const { client, gateway, told, main } = await connected();
    gateway.insert("bookings", { id: 1 });
    told.stop();
    await pass();
    expect(main.state).toBe("closed");
    expect(client.status).toBe("DISCONNECTED");
    listen(client);
    expect(client.status).toBe("CONNECTING");
    await pass();
    expect(gateway.main.lastEventId).toBeNull();
  });

  it("does not reconnect for somebody who stops and listens in one go", async () => {
    const { client, gateway, told } = await connected();
    told.stop();
    listen(client);
    await pass(100);
    expect(gateway.requests).toHaveLength(1);
  });

  it("ends all with close, and comes back with reconnect behind the last id", async () => {
    const { client, gateway, main } = await connected();
    const id = gateway.insert("bookings", { id: 1 });
    client.close();
    expect(main.state).toBe("closed");
    expect(client.status).toBe("DISCONNECTED");
    expect(client.error).toBeNull();
    listen(client, "services");
    await pass(100_000);
    expect(gateway.active).toEqual([]);
    client.reconnect();
    expect(client.status).toBe("CONNECTING");
    await pass();
    expect(gateway.main.lastEventId).toBe(id);
    expect(gateway.main.streams).toEqual(["bookings", "services"]);
  });

  it("tells a status listener nothing after it has stopped, and counts one that is added twice as two", async () => {
    const { client } = setup();
    const listener = vi.fn();
    const stop = client.onStatus(listener);
    client.onStatus(listener);
    stop();
    listen(client);
    expect(listener).toHaveBeenCalledTimes(1);
    expect(listener).toHaveBeenCalledWith("CONNECTING", null);
  });
});
