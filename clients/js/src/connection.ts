/**
 * One connection for all streams that anybody wants: it comes back by itself, behind the last id.
 *
 * - CONNECTING until `ready`, then CONNECTED, and CONNECTING again whenever it ends. DISCONNECTED is for good: asking again would be useless.
 * - Whoever wants other streams gets them by a new attempt with the last id: nothing is lost between the two.
 */

import { attempt } from "./attempt.js";
import type { Attempt, Gateway } from "./attempt.js";
import { LONGEST_MS, pauseMs, SHORTEST_MS, STEADY_MS } from "./backoff.js";
import { fault, passes } from "./error.js";
import { readEvent } from "./event.js";
import { placed } from "./id.js";
import { pathOf } from "./signal.js";
import type { Feed, Sink, Wants } from "./signal.js";
import type { RealtimeError, Row } from "./types.js";
import { SILENT_MS, UNSEEN_MS } from "./watchdog.js";

/** While other streams are asked for, the connection counts as there for so long. */
const SWITCH_MS = 1000;

export function connect(gateway: Gateway, sink: Sink): Feed {
  const { report, names, transport, heartbeatTimeoutMs } = gateway;
  const renewal = { done: false };
  let wants: Wants = {};
  let path = "";
  let state: "idle" | "opening" | "ready" | "waiting" | "over" = "idle";
  let error: RealtimeError | null = null;
  let tries = 0;
  /** Until when the gateway wants nobody to come back. */
  let notBefore = 0;
  /** While it is opening or ready. */
  let current: Attempt | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** The open stream's name, for a newer token. */
  let name: unknown;

  const drop = (next: typeof state): void => {
    clearTimeout(timer);
    current?.close();
    current = undefined;
    state = next;
  };
  const connecting = (): void => sink.state("CONNECTING", error, null);

  const begin = (renew = false): void => {
    drop("opening");
    current = attempt(gateway, { wants, lastEventId: sink.lastId(), renew }, renewal, take, (ended, retryMs) => {
      if (ended && passes(ended)) again(ended, retryMs);
      else halt(ended);
    });
  };

  /** Begins anew; who was CONNECTED stays so for a moment. */
  const anew = (): void => {
    const there = state === "ready";
    begin();
    if (!there) return connecting();
    timer = setTimeout(connecting, SWITCH_MS);
    sink.state("CONNECTED", null, null);
  };

  const fail = (found: RealtimeError | null): void => {
    error = found;
    if (found) report(found);
  };

  /** Comes back after a pause: that of the back-off, and no shorter than the gateway says. */
  const again = (found: RealtimeError | null, retryMs?: number, renew?: boolean, pause = pauseMs(tries++, retryMs, gateway.backoff)): void => {
    drop("waiting");
    notBefore = Date.now() + (retryMs ?? 0);
    fail(found);
    timer = setTimeout(begin, pause, renew);
    connecting();
  };

  const halt = (found: RealtimeError | null): void => {
    drop("over");
    fail(found);
    sink.state("DISCONNECTED", found, null);
  };

  const take = (row: Row | null, event: string, id: string): void => {
    const place = placed(id);
    if (event === "ready") return row ? ready(row, place) : again(fault("malformed", "malformed ready"));
    if (row && event === "reset") {
      const streams = [row["streams"] ?? row["stream"] ?? []].flat();
      return sink.reset(String(row["reason"]), streams[0] ? streams.map(String) : null, place);
    }
    if (row && !/^(snapshot|checkpoint|auth-expiring|reconnect|closed)$/.test(event)) return tell(row, event, place);
    if (place) sink.move(place);
    if (!row) return;
    if (event === "auth-expiring") void renewToken();
    if (event === "closed") closed(String(row["reason"]));
    // What the gateway says is what it is, and not a back-off.
    const pause = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, Number(row["retry"]))) || undefined;
    if (event === "reconnect") again(null, pause, false, pause);
  };

  const tell = (row: Row, event: string, id = ""): void => {
    try {
      const stream = state === "ready" && id && names.streamOf(event, Object.keys(wants));
      if (!stream) throw new Error(`unknown event ${event.slice(0, 40)}`);
      const read = readEvent(row, event);
      if ("state" in read) sink.component(stream, read.state);
      else sink.event({ id, name: event, stream, change: read.change });
    } catch (cause) {
      report(fault("malformed", (cause as Error).message));
      if (id) sink.move(id);
    }
  };

  const ready = (row: Row, id: string | undefined): void => {
    clearTimeout(timer);
    timer = setTimeout(() => (tries = 0), STEADY_MS);
    renewal.done = false;
    error = null;
    state = "ready";
    name = row["connection"];
    current?.expect(heartbeatTimeoutMs ?? (transport.seesHeartbeats ? Number(row["heartbeat"]) * 3000 || SILENT_MS : UNSEEN_MS));
    // Where history is lost, `reset` says where to go on from: not before it has come.
    sink.state("CONNECTED", null, wants, row["status"] === "fresh" ? id : undefined);
  };

  const closed = (reason: string): void => {
    const found = fault(reason === "forbidden" ? "forbidden" : "unauthorized", `ended: ${reason.slice(0, 40)}`);
    if (reason !== "expired" || !gateway.renews) return halt(found);
    renewal.done = true;
    // After a pause: one that is accepted and ends at once would go round without.
    again(null, 0, true);
  };

  /** Gives the open stream a newer token. Where that fails it ends in a minute, and comes back with another one. */
  const renewToken = async (): Promise<void> => {
    if (!gateway.renews) return;
    const url = `${gateway.url}/streams/connections/${name}/token`;
    const asking = current;
    try {
      const token = await gateway.token(true);
      // It may be the former user's.
      if (current !== asking) return;
      if (!token || (await transport.post(url, token)) > 399) throw url;
    } catch {
      report(fault("unavailable", "token not renewed"));
    }
  };

  /** Waits no longer, unless the gateway wants it. What is open may hang on a network that is no longer there. */
  const hasten = (): void => {
    if (state === "waiting" ? Date.now() < notBefore : !current) return;
    tries = 0;
    anew();
  };

  const off = [
    on(globalThis, "online", hasten),
    // Attempts go on, for a gateway on this machine is there all the same.
    on(globalThis, "offline", () => current && again(fault("unavailable", "offline"))),
    on(globalThis.document, "visibilitychange", () => {
      if (document.visibilityState !== "visible") return;
      if (state === "waiting") hasten();
      else current?.look();
    }),
  ];

  return {
    want(next) {
      // EventSource hears the names alone that it was opened with.
      const asked = pathOf(next) + Object.keys(next).flatMap(names.of).sort();
      if (asked === path) return;
      path = asked;
      wants = next;
      // It is asked for after the pause.
      if (state === "waiting") return;
      // Other streams may be allowed where these were not; a token that is not good is good for none.
      if (state !== "over" || (error && error.code !== "unauthorized")) anew();
    },
    reconnect() {
      renewal.done = false;
      tries = 0;
      if (path) anew();
    },
    close() {
      drop("over");
      for (const each of off) each();
    },
  };
}

/** Listens where there is something to listen to: not on a server. Returns how to stop. */
export function on(target: EventTarget | undefined, event: string, listener: () => void): () => void {
  target?.addEventListener?.(event, listener);
  return () => target?.removeEventListener?.(event, listener);
}
