// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { connected, listen, pass, setup } from "./support.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function visibility(state: "visible" | "hidden"): void {
  vi.spyOn(document, "visibilityState", "get").mockReturnValue(state);
  document.dispatchEvent(new Event("visibilitychange"));
}

describe("the network and the page", () => {
  it("says so when the browser is offline, and is back as soon as it is online", async () => {
    const { client, gateway, main } = await connected({ backoff: { initialMs: 60_000, maxMs: 60_000, jitter: 0 } });
    window.dispatchEvent(new Event("offline"));
    expect(main.state).toBe("closed");
    expect(client.status).toBe("RECONNECTING");
    expect(client.error).toMatchObject({ message: "offline" });
    window.dispatchEvent(new Event("offline"));
    window.dispatchEvent(new Event("online"));
    await pass();
    gateway.main.ready();
    expect(client.status).toBe("CONNECTED");
  });

  it("opens anew when another network is there, without a flicker", async () => {
    const { gateway, statuses } = await connected();
    window.dispatchEvent(new Event("online"));
    await pass();
    gateway.main.ready();
    expect(gateway.requests).toHaveLength(2);
    expect(statuses).toEqual(["CONNECTING", "CONNECTED"]);
  });

  it("does nothing online when it is not wanted", async () => {
    const { client, gateway } = await connected();
    client.close();
    window.dispatchEvent(new Event("online"));
    window.dispatchEvent(new Event("offline"));
    await pass();
    expect(gateway.active).toEqual([]);
  });

  it("comes back at once when the page is seen again", async () => {
    const { gateway, main } = await connected({ backoff: { initialMs: 60_000, maxMs: 60_000 } });
    main.cut();
    visibility("hidden");
    await pass();
    expect(gateway.active).toEqual([]);
    visibility("visible");
    await pass();
    expect(gateway.active).toHaveLength(1);
  });

  it("looks at once whether a connection is dead when a page that slept is seen again", async () => {
    const { client } = await connected();
    vi.setSystemTime(Date.now() + 60_000);
    visibility("visible");
    expect(client.status).toBe("RECONNECTING");
  });

  it("keeps its connection in a hidden page", async () => {
    const { client } = await connected();
    visibility("hidden");
    await pass(1000);
    expect(client.status).toBe("CONNECTED");
  });

  it("lets go of it where it is told to, and makes up for what was missed", async () => {
    const { client, gateway, main, told } = await connected({ pauseWhenHidden: true });
    const id = gateway.insert("bookings", { id: 1 });
    visibility("hidden");
    expect(main.state).toBe("closed");
    expect(client.status).toBe("RECONNECTING");
    await pass(100_000);
    expect(gateway.active).toEqual([]);
    visibility("visible");
    await pass();
    expect(gateway.main.lastEventId).toBe(id);
    gateway.main.ready();
    gateway.insert("bookings", { id: 2 });
    expect(told.events).toHaveLength(2);
  });

  it("opens nothing in a page that is hidden from the beginning, and leaves no listener behind", async () => {
    visibility("hidden");
    const { client, gateway } = setup({ pauseWhenHidden: true });
    const told = listen(client);
    await pass();
    expect(client.status).toBe("CONNECTING");
    told.stop();
    await pass();
    visibility("visible");
    await pass();
    expect(gateway.requests).toEqual([]);
  });
});
