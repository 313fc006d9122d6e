import { describe, expect, it, vi } from "vitest";

import { fetchTransport } from "../src/fetch.js";
import { client, open } from "./real.js";
import type { End } from "./real.js";
import { begin, frame, inserted, READY, serve } from "./server.js";

describe("fetch", () => {
  it("sends the token and the last id in headers, and asks for an event stream", async () => {
    const server = await serve();
    open(fetchTransport, server.url, { token: "t0k3n", lastEventId: "real-7" });
    const { request } = await server.next();
    expect(request.headers).toMatchObject({ authorization: "Bearer t0k3n", "last-event-id": "real-7", accept: "text/event-stream" });
    expect(request.url).toBe("/streams/bookings?format=raw");
  });

  it("hears every byte, heartbeats too", async () => {
    const server = await serve();
    const { said } = open(fetchTransport, server.url);
    const { request, response } = await server.next();
    expect(request.headers).not.toHaveProperty("authorization");
    begin(response);
    await vi.waitFor(() => expect(said.opened).toBe(1));
    const { alive } = said;
    response.write(":\n");
    await vi.waitFor(() => expect(said.alive).toBeGreaterThan(alive));
    expect(said).toMatchObject({ opened: 1, messages: [], ends: [] });
  });

  it("hands on messages whose characters come in pieces", async () => {
    const body = new ReadableStream({
      start(controller) {
        for (const byte of new TextEncoder().encode(frame("bookings", { name: "Zoë 😀" }))) controller.enqueue(Uint8Array.of(byte));
        controller.close();
      },
    });
    vi.stubGlobal("fetch", async () => new Response(body, { headers: { "Content-Type": "text/event-stream" } }));
    const { said } = open(fetchTransport, "http://mock");
    await vi.waitFor(() => expect(said.ends).toEqual([{}]));
    expect(said.messages).toEqual([{ id: "real-1", event: "bookings", data: '{"name":"Zoë 😀"}' }]);
  });

  it("tells of the end with the last retry, however it comes", async () => {
    const server = await serve();
    const { said } = open(fetchTransport, server.url);
    const { response } = await server.next();
    begin(response);
    response.write(frame("ready", READY, "real-0", 1234));
    await vi.waitFor(() => expect(said.messages).toHaveLength(1));
    response.destroy();
    await vi.waitFor(() => expect(said.ends).toEqual([{ retryMs: 1234 }]));
  });

  it("tells of a refusal with its detail and Retry-After", async () => {
    const server = await serve();
    const answer = async (status: number, headers: Record<string, string>, body: string): Promise<End | undefined> => {
      const { said } = open(fetchTransport, server.url);
      const { response } = await server.next();
      response.writeHead(status, headers).end(body);
      await vi.waitFor(() => expect(said.ends).toHaveLength(1));
      expect(said.opened).toBe(0);
      return said.ends[0];
    };
    const problem = { "Content-Type": "application/problem+json" };
    expect(await answer(429, { ...problem, "Retry-After": "20" }, '{"title":"Too many","detail":"too many streams"}')).toEqual({
      status: 429,
      detail: "too many streams",
      retryMs: 20_000,
    });
    const dated = await answer(503, { "Retry-After": new Date(Date.now() + 60_000).toUTCString() }, "<html>");
    expect(dated?.retryMs).toBeGreaterThan(50_000);
    expect(dated?.retryMs).toBeLessThanOrEqual(60_000);
    expect(await answer(502, { "Retry-After": "soon" }, "")).toEqual({ status: 502 });
    expect(await answer(204, {}, "")).toEqual({ status: 204 });
    // Some portal's page.
    expect(await answer(200, { "Content-Type": "text/html" }, "<html>")).toEqual({ status: 200 });
  });

  it("tells of a server that is not there", async () => {
    const { said } = open(fetchTransport, "http://127.0.0.1:1");
    await vi.waitFor(() => expect(said.ends).toEqual([{}]));
  });

  it("says nothing after it was closed", async () => {
    const server = await serve();
    const { said, handle } = open(fetchTransport, server.url);
    const { request, response } = await server.next();
    const gone = new Promise((resolve) => request.on("close", resolve));
    begin(response);
    await vi.waitFor(() => expect(said.opened).toBe(1));
    handle.close();
    await gone;
    expect(said).toMatchObject({ messages: [], ends: [] });
  });

  it("hands on nothing of a piece behind the message that closes it", async () => {
    const server = await serve();
    const messages: string[] = [];
    const handle = fetchTransport.open(
      { url: `${server.url}/streams/a`, token: null, lastEventId: null, events: [] },
      {
        onOpen: () => undefined,
        onAlive: () => undefined,
        onEnd: () => messages.push("end"),
        onMessage: ({ event }) => {
          messages.push(event);
          handle.close();
        },
      },
    );
    const { request, response } = await server.next();
    begin(response);
    response.write(frame("closed", {}) + frame("bookings", {}));
    await new Promise((resolve) => request.on("close", resolve));
    expect(messages).toEqual(["closed"]);
  });

  it("sends a newer token", async () => {
    const server = await serve();
    const status = fetchTransport.post(`${server.url}/streams/connections/c1/token`, "newer");
    const { request, response } = await server.next();
    expect([request.method, request.url, request.headers.authorization]).toEqual(["POST", "/streams/connections/c1/token", "Bearer newer"]);
    response.writeHead(204).end();
    expect(await status).toBe(204);
  });

  it("carries a client through ready, events, a cut and its resume", async () => {
    const server = await serve();
    const { client: made, events } = client(server.url, { getToken: async () => "t0k3n" });
    const first = await server.next();
    begin(first.response);
    first.response.write(frame("ready", READY, "real-0", 5) + frame("bookings", inserted({ id: 1 }), "real-1"));
    await vi.waitFor(() => expect(events).toHaveLength(1));
    first.response.destroy();
    const second = await server.next();
    expect(second.request.headers["last-event-id"]).toBe("real-1");
    begin(second.response);
    second.response.write(frame("ready", { ...READY, status: "resumed" }, "real-1") + frame("bookings", inserted({ id: 2 }), "real-2"));
    await vi.waitFor(() => expect(events.map(({ id }) => id)).toEqual(["real-1", "real-2"]));
    expect(made.status).toBe("CONNECTED");
  });
});
