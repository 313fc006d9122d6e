/**
 * One connection for all tabs of an origin: whoever holds the lock has it, and tells the others.
 *
 * - What the leader says is numbered. Who finds a number missing, or a new leader that is further than it is itself, has missed something.
 * - A leader that is new goes on behind the last id that it saw, with the streams that were there: who is further drops what it has.
 * - Each tab holds a lock of its own. When the leader gets it, that tab is gone, and with it what it wanted.
 * - A leader that was refused tries again when a tab comes.
 * - No token is ever sent to another tab.
 */

import type { Gateway } from "./attempt.js";
import { connect } from "./connection.js";
import { fault } from "./error.js";
import { isCovered } from "./id.js";
import { united } from "./signal.js";
import type { Feed, Sink, Wants } from "./signal.js";
import type { RealtimeError } from "./types.js";

/** An error, as it can be sent. */
type Told = Pick<RealtimeError, "code" | "message" | "status"> | null;

/** A call of the sink, as it can be sent. A state says where the leader is. */
type Signal =
  | { readonly call: "state"; readonly with: [status: Parameters<Sink["state"]>[0], error: Told, has: Wants | null, id: string | null] }
  | { readonly call: "event"; readonly with: Parameters<Sink["event"]> }
  | { readonly call: "component"; readonly with: Parameters<Sink["component"]> }
  | { readonly call: "reset"; readonly with: Parameters<Sink["reset"]> }
  | { readonly call: "move"; readonly with: Parameters<Sink["move"]> };

/** What a tab says: what it wants, and which events it has heard of. */
interface Question {
  readonly tab: string;
  readonly wants: Wants;
  readonly heard: Gateway["names"]["heard"];
  readonly reconnect?: true;
}

/** What the leader says: its `term` is as long as it leads. */
interface Answer {
  readonly term: string;
  readonly number: number;
  readonly signal: Signal;
}

/** So long a new leader waits for what the others want before it opens, and so long before it forgets what was there. */
const GATHER_MS = 20;
const INHERIT_MS = 3000;
const INHERITED = "";

/** Shares a connection with the other tabs. Where the browser will not have it, this tab has one of its own. */
export function createTab(name: string, gateway: Gateway, sink: Sink): Feed {
  let feed: Feed | undefined;
  let wants: Wants | undefined;
  const alone = (cause: unknown): void => {
    gateway.report(fault("unavailable", "tabs do not share a connection", { cause }));
    feed?.close();
    feed = connect(gateway, sink);
    if (wants) feed.want(wants);
  };
  try {
    feed = share(name, gateway, sink, alone);
  } catch (cause) {
    alone(cause);
  }
  return {
    want(next) {
      wants = next;
      feed?.want(next);
    },
    reconnect: () => feed?.reconnect(),
    close: () => feed?.close(),
  };
}

/** `refused` is told where the browser gives no lock. */
function share(name: string, gateway: Gateway, sink: Sink, refused: (cause: unknown) => void): Feed {
  const tab = crypto.randomUUID();
  const channel = new BroadcastChannel(name);
  const wanted = new Map<string, Wants>();
  const leaving = new AbortController();
  let leave: () => void = () => undefined;
  const left = new Promise<void>((resolve) => (leave = resolve));
  let connection: Feed | undefined;
  let wants: Wants = {};
  /** Whether others may hear of this tab. */
  let known = false;
  let term = "";
  let number = 0;
  let last: [status: Parameters<Sink["state"]>[0], error: Told, has: Wants | null] = ["CONNECTING", null, null];
  let timer: ReturnType<typeof setTimeout> | undefined;
  let inheriting: ReturnType<typeof setTimeout> | undefined;

  /** Holds a lock, once it is there, until this tab leaves. */
  const hold = (lock: string, held: () => unknown): void => {
    const granted = (): unknown => leaving.signal.aborted || held();
    // It may leave before it has the lock.
    const request = async (): Promise<unknown> => navigator.locks.request(lock, { signal: leaving.signal }, granted);
    request().catch((cause) => leaving.signal.aborted || refused(cause));
  };

  const ask = (more: { reconnect?: true } = {}): void => {
    if (known) channel.postMessage({ tab, wants, heard: gateway.names.heard, ...more } satisfies Question);
  };

  const post = (signal: Signal): void => channel.postMessage({ term, number: ++number, signal } satisfies Answer);
  const postState = (id = sink.lastId()): void => post({ call: "state", with: [...last, id] });

  /** Opens for all tabs together, in a moment. */
  const gather = (): void => {
    timer ??= setTimeout(() => {
      timer = undefined;
      connection?.want(united(wanted.values()));
    }, GATHER_MS);
  };

  const forget = (gone: string): void => {
    if (wanted.delete(gone)) gather();
  };

  /** Tells the others first: what happens here may take its time. */
  const both: Sink = {
    state(status, error, has, id) {
      last = [status, error && { code: error.code, message: error.message, ...(error.status ? { status: error.status } : {}) }, has];
      postState(id);
      sink.state(status, error, has, id);
    },
    event(event) {
      post({ call: "event", with: [event] });
      sink.event(event);
    },
    component(...all) {
      post({ call: "component", with: all });
      sink.component(...all);
    },
    reset(...all) {
      post({ call: "reset", with: all });
      sink.reset(...all);
    },
    move(id) {
      post({ call: "move", with: [id] });
      sink.move(id);
    },
    lastId: sink.lastId,
  };

  const lead = (): Promise<void> => {
    const [, , had] = last;
    term = crypto.randomUUID();
    number = 0;
    if (had) wanted.set(INHERITED, had);
    inheriting = setTimeout(forget, INHERIT_MS, INHERITED);
    wanted.set(tab, wants);
    connection = connect(gateway, both);
    // Whoever hears it says what it wants.
    both.state("CONNECTING", null, null);
    gather();
    return left;
  };

  const asked = ({ tab: other, wants, heard, reconnect }: Question): void => {
    if (!connection) return;
    const isNew = !wanted.has(other);
    if (isNew) hold(`${name}/${other}`, () => forget(other));
    wanted.set(other, wants);
    for (const [stream, events] of Object.entries(heard)) {
      gateway.names.heard[stream] = [...new Set([...gateway.names.of(stream), ...events])];
    }
    postState();
    // Who comes new, perhaps after signing in, is refused by the gateway alone.
    if (reconnect || (isNew && last[0] === "DISCONNECTED")) connection.reconnect();
    gather();
  };

  const hear = (answer: Answer): void => {
    if (connection) return;
    const { signal } = answer;
    const isNew = answer.term !== term;
    // Of a leader that it does not know it believes only where it is.
    if (isNew && signal.call !== "state") return ask();
    const missed = !isNew && answer.number !== number + 1;
    ({ term, number } = answer);
    const own = sink.lastId();
    const ahead = signal.call === "state" && own !== null && isCovered(signal.with[3] ?? "", own);
    const gap = (): unknown => (missed || (isNew && own !== null && !ahead)) && sink.reset("gap", null);
    if (signal.call !== "state") {
      gap();
      if (!isRepeated(signal, own)) (sink[signal.call] as (...all: unknown[]) => void)(...signal.with);
      return;
    }
    const [status, error, has, id] = signal.with;
    last = [status, error, has];
    sink.state(status, error && fault(error.code, error.message, error.status ? { status: error.status } : {}), has, ahead ? own : id);
    // Only now: where the leader has no connection, rows that are asked for at once would be older than where it begins.
    gap();
    if (isNew) ask();
  };

  channel.onmessage = ({ data }: MessageEvent<Question | Answer>) => ("term" in data ? hear(data) : asked(data));
  hold(`${name}/${tab}`, () => {
    // Only now: whoever hears of this tab waits for its lock.
    known = true;
    ask();
    hold(name, lead);
    return left;
  });
  sink.state("CONNECTING", null, null);

  return {
    want(next) {
      wants = next;
      if (!connection) return ask();
      wanted.set(tab, next);
      gather();
    },
    reconnect() {
      if (connection) connection.reconnect();
      else ask({ reconnect: true });
    },
    close() {
      clearTimeout(timer);
      clearTimeout(inheriting);
      connection?.close();
      channel.close();
      leave();
      leaving.abort();
    },
  };
}

/** Whether it is a reset that a leader who was further back has got again. It lies in the log; others say where all go on from. */
function isRepeated({ call, with: [reason, streams, id] }: Signal, own: string | null): boolean {
  return call === "reset" && streams !== null && /^(truncated|capture-failed)$/.test(String(reason)) && isCovered(String(id), own);
}
