import { EventSource } from "eventsource";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { eventSourceTransport } from "../src/eventsource.js";
import { fetchTransport } from "../src/fetch.js";
import { FakeLocks } from "./locks.js";
import { client, open } from "./real.js";
import type { End } from "./real.js";
import { begin, frame, inserted, READY, serve } from "./server.js";

beforeEach(() => {
  vi.stubGlobal("EventSource", EventSource);
});
afterEach(() => {
  vi.unstubAllGlobals();
});

describe("EventSource", () => {
  it("hands on messages by name, and sends the last id in the address", async () => {
    const server = await serve();
    const { said } = open(eventSourceTransport, server.url, { lastEventId: "real-3" });
    const { request, response } = await server.next();
    expect(request.url).toBe("/streams/bookings?format=raw&lastEventId=real-3");
    begin(response);
    response.write(frame("ready", READY, "real-3") + frame("unheard", {}, "real-4") + frame("bookings", { id: 1 }, "real-5"));
    await vi.waitFor(() => expect(said.messages.map(({ event, id }) => [event, id])).toEqual([["ready", "real-3"], ["bookings", "real-5"]]));
    expect(said.opened).toBe(1);
    expect(eventSourceTransport.seesHeartbeats).toBe(false);
  });

  it("does not come back by itself", async () => {
    const server = await serve();
    const { said } = open(eventSourceTransport, server.url);
    const { response } = await server.next();
    begin(response);
    response.write(frame("ready", READY, "real-0", 1));
    await vi.waitFor(() => expect(said.messages).toHaveLength(1));
    response.end();
    await vi.waitFor(() => expect(said.ends).toEqual([{}]));
    let more = false;
    void server.next().then(() => (more = true));
    const other = await serve();
    open(fetchTransport, other.url);
    await other.next();
    expect(more).toBe(false);
  });

  it("finds out with HEAD why it was refused", async () => {
    const server = await serve();
    const answer = async (first: number, then: number): Promise<End | undefined> => {
      const { said } = open(eventSourceTransport, server.url);
      (await server.next()).response.writeHead(first).end();
      const { request, response } = await server.next();
      expect(request.method).toBe("HEAD");
      response.writeHead(then, { "Retry-After": "3" }).end();
      await vi.waitFor(() => expect(said.ends).toHaveLength(1));
      return said.ends[0];
    };
    expect(await answer(401, 401)).toEqual({ status: 401, retryMs: 3000 });
    // It would go well by now.
    expect(await answer(503, 200)).toEqual({});
  });

  it("takes it for the network where HEAD fails too", async () => {
    const server = await serve();
    const { said } = open(eventSourceTransport, server.url);
    (await server.next()).response.writeHead(403).end();
    (await server.next()).response.destroy();
    await vi.waitFor(() => expect(said.ends).toEqual([{}]));
  });

  it("makes a session of a token first, and renews it with the open stream", async () => {
    const server = await serve();
    const { said } = open(eventSourceTransport, server.url, { token: "t0k3n" });
    const session = await server.next();
    expect([session.request.method, session.request.url, session.request.headers.authorization]).toEqual(["POST", "/auth/session", "Bearer t0k3n"]);
    session.response.writeHead(204).end();
    const { request, response } = await server.next();
    expect(request.headers).not.toHaveProperty("authorization");
    begin(response);
    await vi.waitFor(() => expect(said.opened).toBe(1));
    const posted = eventSourceTransport.post(`${server.url}/streams/connections/c1/token`, "newer");
    for (const url of ["/auth/session", "/streams/connections/c1/token"]) {
      const renewal = await server.next();
      expect([renewal.request.url, renewal.request.headers.authorization]).toEqual([url, "Bearer newer"]);
      renewal.response.writeHead(204).end();
    }
    expect(await posted).toBe(204);
  });

  it("tells of a session that is refused, or cannot be asked for", async () => {
    const server = await serve();
    const { said } = open(eventSourceTransport, server.url, { token: "t0k3n" });
    (await server.next()).response.writeHead(401).end('{"detail":"the token has expired"}');
    await vi.waitFor(() => expect(said.ends).toEqual([{ status: 401, detail: "the token has expired" }]));
    const away = open(eventSourceTransport, "http://127.0.0.1:1", { token: "t0k3n" });
    await vi.waitFor(() => expect(away.said.ends).toEqual([{}]));
  });

  it("opens nothing that was closed before its session was there, and says nothing after it was closed", async () => {
    const server = await serve();
    const { said, handle } = open(eventSourceTransport, server.url, { token: "t0k3n" });
    const session = await server.next();
    handle.close();
    session.response.writeHead(204).end();
    const late = open(eventSourceTransport, server.url);
    const { request, response } = await server.next();
    expect(request.method).toBe("GET");
    begin(response);
    await vi.waitFor(() => expect(late.said.opened).toBe(1));
    late.handle.close();
    await new Promise((resolve) => request.on("close", resolve));
    expect([said, late.said]).toMatchObject([{ opened: 0, ends: [] }, { opened: 1, ends: [] }]);
  });

  it("lets no other tab make a session between its own and its stream, nor while it finds out why it was refused", async () => {
    vi.stubGlobal("navigator", { locks: new FakeLocks() });
    const server = await serve();
    const asked = async (status?: number): Promise<unknown> => {
      const { request, response } = await server.next();
      if (status) response.writeHead(status).end();
      else begin(response);
      return [request.method, request.headers.authorization];
    };
    open(eventSourceTransport, server.url, { token: "one" });
    open(eventSourceTransport, server.url, { token: "two" });
    const posted = eventSourceTransport.post(`${server.url}/streams/connections/c1/token`, "newer");
    expect(await asked(204)).toEqual(["POST", "Bearer one"]);
    expect(await asked()).toEqual(["GET", undefined]);
    expect(await asked(204)).toEqual(["POST", "Bearer two"]);
    expect(await asked(401)).toEqual(["GET", undefined]);
    expect(await asked(401)).toEqual(["HEAD", undefined]);
    expect(await asked(204)).toEqual(["POST", "Bearer newer"]);
    expect(await asked(204)).toEqual(["POST", "Bearer newer"]);
    expect(await posted).toBe(204);
  });

  it("makes way for other tabs when it is closed, whether it waits, makes its session or opens its stream", async () => {
    const locks = new FakeLocks();
    vi.stubGlobal("navigator", { locks });
    const server = await serve();
    const [one, two, three, four] = ["one", "two", "three", "four"].map((token) => open(eventSourceTransport, server.url, { token }));
    const session = await server.next();
    two?.handle.close();
    one?.handle.close();
    await new Promise((resolve) => session.request.on("close", resolve));
    const third = await server.next();
    expect(third.request.headers.authorization).toBe("Bearer three");
    third.response.writeHead(204).end();
    await server.next();
    three?.handle.close();
    expect((await server.next()).request.headers.authorization).toBe("Bearer four");
    four?.handle.close();
    await vi.waitFor(() => expect(locks.held.size).toBe(0));
    expect([one, two, three, four].flatMap((tab) => tab?.said.ends)).toEqual([]);
  });

  it("goes without a lock that the browser refuses", async () => {
    vi.stubGlobal("navigator", { locks: { request: () => Promise.reject(new DOMException("no", "SecurityError")) } });
    const server = await serve();
    open(eventSourceTransport, server.url, { token: "t0k3n" });
    expect((await server.next()).request.url).toBe("/auth/session");
  });

  it("is what a client without getToken uses, and hears the names that are declared and listened to", async () => {
    const server = await serve();
    const { client: made, events } = client(server.url);
    const shared: string[] = [];
    made.on("document-shared", (_data, { id }) => shared.push(id), { stream: "documents" });
    const { request, response } = await server.next();
    expect(request.url).toBe("/streams/bookings,documents?format=raw");
    begin(response);
    response.write(frame("ready", READY, "real-0") + frame("document-shared", inserted({ id: 1 }), "real-1") + frame("bookings", inserted({ id: 1 }), "real-2"));
    await vi.waitFor(() => expect([shared, events.map(({ id }) => id)]).toEqual([["real-1"], ["real-2"]]));
    response.end();
    const again = await server.next();
    expect(again.request.url).toBe("/streams/bookings,documents?format=raw&lastEventId=real-2");
  });
});
