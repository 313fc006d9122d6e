import { createParser as createOracle } from "eventsource-parser";
import { afterEach, describe, expect, it, vi } from "vitest";

import { pauseMs } from "../src/backoff.js";
import { isCovered, isId, placed } from "../src/id.js";
import { createParser } from "../src/parser.js";
import { createKept } from "../src/resume.js";
import { pathOf, united } from "../src/signal.js";
import { setup, listen, loaded, pass } from "./support.js";

/** The same numbers for the same seed. */
function chance(seed: number): () => number {
  return () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
}

describe("the pauses", () => {
  it("spread over the half that jitter says, and double up to the longest", () => {
    const lowest = vi.spyOn(Math, "random").mockReturnValue(1);
    expect([0, 1, 2, 10].map((attempt) => pauseMs(attempt, 0, { initialMs: 100, maxMs: 1000, jitter: 0.5 }))).toEqual([50, 100, 200, 500]);
    lowest.mockReturnValue(0);
    expect([0, 1, 2, 10].map((attempt) => pauseMs(attempt, 0, { initialMs: 100, maxMs: 1000, jitter: 0.5 }))).toEqual([100, 200, 400, 1000]);
  });

  it("are never shorter than the gateway says, and never so long that a timer fires at once", () => {
    expect(pauseMs(0, 5000)).toBe(5000);
    expect(pauseMs(0, 1e15)).toBe(86_400_000);
    expect(pauseMs(5000)).toBeLessThanOrEqual(30_000);
  });
});

describe("ids", () => {
  it("are compared within an epoch by position, and then by stream", () => {
    expect(isCovered("abcd-9", "abcd-10")).toBe(true);
    expect(isCovered("abcd-10", "abcd-9")).toBe(false);
    expect(isCovered("abcd-10", "abcd-10")).toBe(true);
    expect(isCovered("abcd-10", "efgh-11")).toBe(false);
    expect(isCovered("abcd-10", null)).toBe(false);
    expect(isCovered("abcd-10-bookings", "abcd-10")).toBe(true);
    expect(isCovered("abcd-10", "abcd-10-bookings")).toBe(false);
    expect(isCovered("abcd-10-changes", "abcd-10-bookings")).toBe(false);
    expect(isCovered("nonsense", "abcd-10")).toBe(false);
  });

  it("keep more digits than a number has", () => {
    expect(isCovered("abcd-900719925474099267", "abcd-900719925474099266")).toBe(false);
  });

  it("are a place to go on from unless they are none", () => {
    expect(placed("abcd-1")).toBe("abcd-1");
    expect([placed("none-0"), placed("1"), placed("abcd-1\n"), placed(null)]).toEqual([undefined, undefined, undefined, undefined]);
    expect([isId("none-0"), isId("abcd-1-property-alerts"), isId("")]).toEqual([true, true, false]);
  });
});

describe("the parser", () => {
  it("says what eventsource-parser says, however lines end and wherever the pieces end", () => {
    const random = chance(7);
    const pick = (from: readonly string[]): string => from[Math.floor(random() * from.length)] ?? "";
    const fields = ["data: {}", "data:x", "data", "data:  two", "id: abcd-1", "id: a\0b", "id", "event: bookings", "event:", "retry: 12", "retry: x", ": beat", ":", "", "", "odd: field", "data: ü – \u2028"];
    for (let round = 0; round < 300; round += 1) {
      const end = pick(["\n", "\r\n", "\r"]);
      const text = Array.from({ length: 30 }, () => pick(fields)).join(end) + end + end;
      const mine: unknown[] = [];
      const parse = createParser({ onMessage: (message) => mine.push(message), onRetry: (ms) => mine.push(ms) });
      const theirs: unknown[] = [];
      const oracle = createOracle({ onEvent: ({ id = "", event = "message", data }) => theirs.push({ id, event, data }), onRetry: (ms) => theirs.push(ms) });
      for (let at = 0; at < text.length; ) {
        const size = 1 + Math.floor(random() * 12);
        parse(text.slice(at, at + size));
        oracle.feed(text.slice(at, at + size));
        at += size;
      }
      // A CR at the very end may still become a CRLF: both wait.
      parse(":\n");
      oracle.feed(":\n");
      expect(mine).toEqual(theirs);
    }
  });
});

describe("a request", () => {
  it("names its streams in order, its filters by stream, and nothing unescaped", () => {
    expect(pathOf({ b: "x=eq.1&y=like.*a b*", a: "" })).toBe("/streams/a,b?format=raw&b.x=eq.1&b.y=like.*a+b*");
    expect(pathOf({ a: "name=eq.%26&pattern=like.%ZZ" }, true)).toBe("/streams/a?format=raw&snapshot=1&a.name=eq.%26&a.pattern=like.%25ZZ");
    expect(pathOf({ "a/../b": "" })).toBe("/streams/a%2F..%2Fb?format=raw");
  });

  it("adds up to no filter where two differ, in whatever order they come", () => {
    expect(united([{ a: "x=eq.1" }, { a: "x=eq.1", b: "" }])).toEqual({ a: "x=eq.1", b: "" });
    expect(united([{ a: "x=eq.1" }, { a: "x=eq.2" }, { a: "x=eq.1" }])).toEqual({ a: "" });
    expect(united([{ a: "" }, { a: "x=eq.1" }])).toEqual({ a: "" });
  });
});

describe("the id that outlives the page", () => {
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  function storage(kept: Record<string, string> = {}): Record<string, string> {
    vi.stubGlobal("localStorage", {
      getItem: (name: string) => kept[name] ?? null,
      setItem: (name: string, value: string) => void (kept[name] = value),
    });
    return kept;
  }

  it("is kept under its name, and gone on from by the next page", async () => {
    vi.useFakeTimers();
    const kept = storage({ "rowcast:user-1": "mock-4" });
    const { client, gateway } = setup({ resume: "user-1" });
    const told = listen(client);
    await loaded();
    expect(gateway.main.lastEventId).toBe("mock-4");
    gateway.position = 5;
    gateway.main.ready();
    gateway.insert("bookings", { id: 1 });
    expect(told.events).toHaveLength(1);
    expect(kept).toEqual({ "rowcast:user-1": "mock-6" });
    // Also by who listens again on the same page.
    told.stop();
    await pass();
    listen(client);
    await pass();
    expect(gateway.main.lastEventId).toBe("mock-6");
  });

  it("is not kept unless it is asked for", async () => {
    vi.useFakeTimers();
    const kept = storage();
    const { client, gateway } = setup();
    listen(client);
    await pass();
    gateway.main.ready();
    gateway.insert("bookings", { id: 1 });
    expect(kept).toEqual({});
  });

  it.each([["nonsense"], ["none-0"], ["<script>"], [""]])("is ignored where it is %j", (id) => {
    storage({ "rowcast:user-1": id });
    expect(createKept("user-1")()).toBeNull();
  });

  it("is survived where storage is forbidden or full", async () => {
    vi.useFakeTimers();
    vi.stubGlobal("localStorage", {
      get getItem() {
        throw new Error("denied");
      },
      setItem() {
        throw new Error("full");
      },
    });
    const { client, gateway, errors } = setup({ resume: "user-1" });
    const told = listen(client);
    await loaded();
    expect(gateway.main.lastEventId).toBeNull();
    gateway.main.ready();
    gateway.insert("bookings", { id: 1 });
    expect(told.events).toHaveLength(1);
    expect(errors).toEqual([]);
  });
});
