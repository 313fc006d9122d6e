import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { createListeners } from "../src/listener.js";
import { createNames } from "../src/name.js";
import { connected, listen, pass, row, setup } from "./support.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("listeners", () => {
  it("does not let one that throws hurt another, or the connection", async () => {
    const { client, gateway, errors } = setup();
    const fail = (): never => {
      throw new Error("mine");
    };
    client.listen("bookings", { onEvent: fail, onReady: fail, onReset: fail });
    client.onStatus(fail);
    const told = listen(client);
    await pass();
    gateway.main.ready();
    gateway.insert("bookings", { id: 1 });
    gateway.main.reset();
    expect(told).toMatchObject({ ready: 1, resets: ["retention"], events: [{ id: "mock-1" }] });
    expect(errors.map(({ code }) => code)).toEqual(Array(errors.length).fill("listener"));
    expect(errors[0]?.cause).toEqual(new Error("mine"));
    expect(client.status).toBe("CONNECTED");
  });

  it("survives an onError that throws, and warns on the console where there is none", async () => {
    const { main } = await connected({
      onError: () => {
        throw new Error("again");
      },
    });
    main.send("bookings", "{", "mock-1");
    const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);
    const plain = await connected({ onError: undefined as never });
    plain.main.send("bookings", "{", "mock-1");
    expect(warn).toHaveBeenCalledWith(expect.stringContaining("malformed"));
  });

  it("tells nothing more to one that another has just stopped", async () => {
    const { client, gateway } = setup();
    client.listen("bookings", { onEvent: () => told.stop() });
    const told = listen(client);
    await pass();
    gateway.main.ready();
    gateway.insert("bookings", { id: 1 });
    expect(told.events).toEqual([]);
  });

  it("tells by name with on: of a stream, of properties, and of a stream with names of its own", async () => {
    const { client, gateway } = setup({ events: { papers: ["paper-in", "paper-changed", "paper-out"] } });
    const heard: unknown[] = [];
    const note = (what: string) => (data: { type: string }, event: { name: string }) => heard.push([what, data.type, event.name]);
    client.on("bookings", note("bookings"));
    client.on("property-updated", note("updated"));
    client.on("paper-out", note("paper"));
    client.on("document-shared", note("document"), { stream: "documents" });
    await pass();
    const main = gateway.main.ready();
    expect(main.streams).toEqual(["bookings", "documents", "papers", "properties"]);
    gateway.insert("bookings", { id: 1 });
    gateway.insert("properties", { id: 1 });
    gateway.update("properties", { id: 1 });
    main.send("paper-out", { ...row(1), type: "DELETE", old_record: { id: 1 }, record: null }, "mock-8");
    main.send("document-shared", row(1), "mock-9");
    expect(heard).toEqual([
      ["bookings", "INSERT", "bookings"],
      ["updated", "UPDATE", "property-updated"],
      ["paper", "DELETE", "paper-out"],
      ["document", "INSERT", "document-shared"],
    ]);
  });

  it("tells who listens by name that history is lost", async () => {
    const { client, gateway } = setup();
    const onReset = vi.fn();
    client.on("property-updated", () => undefined, { onReset });
    await pass();
    gateway.main.ready().reset("retention");
    expect(onReset).toHaveBeenCalledWith("retention");
  });

  it("takes an unknown name for the stream's where there is only one", async () => {
    const { client, gateway } = setup();
    const told = listen(client, "documents");
    await pass();
    gateway.main.ready().send("document-shared", row(1), "mock-1");
    expect(told.events).toMatchObject([{ stream: "documents", name: "document-shared" }]);
  });

  it("is not ready with a filter that is judged here before there is what judges", () => {
    const listeners = createListeners(createNames(), () => undefined);
    const events: unknown[] = [];
    const onReady = vi.fn();
    listeners.add("bookings", { filter: "status=eq.pending", onEvent: (event) => events.push(event), onReady });
    listeners.greet({ bookings: "" });
    expect(onReady).not.toHaveBeenCalled();
    listeners.judge = () => (event) => event;
    listeners.greet({ bookings: "" });
    expect(onReady).toHaveBeenCalledTimes(1);
    listeners.tell({ id: "mock-1", name: "bookings", stream: "bookings", change: row(1) as never }, { bookings: "" });
    expect(events).toHaveLength(1);
  });

  it("tells who has not its stream that history is lost when it has it, and not before", () => {
    const listeners = createListeners(createNames(), () => undefined);
    const said: string[] = [];
    listeners.add("bookings", { onEvent: () => undefined, onReset: (reason) => said.push(reason), onReady: () => said.push("ready") });
    listeners.reset("gap", null);
    listeners.greet(null);
    expect(said).toEqual([]);
    listeners.greet({ bookings: "" });
    listeners.reset("retention", ["bookings"]);
    expect(said).toEqual(["gap", "ready", "retention"]);
  });

  it("tells one whose stream the others have gone on without that it has missed something, before it is ready again", () => {
    const said: string[] = [];
    const listeners = createListeners(createNames(), () => undefined);
    const add = (stream: string): (() => void) => listeners.add(stream, { onEvent: () => undefined, onReset: (reason) => said.push(`${stream} ${reason}`), onReady: () => said.push(stream) });
    add("bookings");
    add("services");
    listeners.greet({ services: "" });
    listeners.greet({ bookings: "", services: "" });
    // A connection that is away and comes back with what was missed is no gap.
    listeners.greet(null);
    listeners.greet({ bookings: "", services: "" });
    listeners.greet({ services: "" });
    listeners.greet(null);
    listeners.greet({ bookings: "", services: "" });
    expect(said).toEqual(["services", "bookings", "bookings", "services", "bookings gap", "bookings", "services"]);
  });
});
