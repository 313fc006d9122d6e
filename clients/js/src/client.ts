/**
 * What an application has in its hands: it listens, and is told.
 *
 * - Nothing is opened before somebody listens, and nothing read of the browser before that: it can be made on a server.
 * - What was asked for within one turn of the event loop becomes one request.
 * - An event at or before the last one of its epoch is not told again.
 * - What only some pages need is loaded when they need it: tabs, filters that are judged here, EventSource, the last page's id.
 */

import type { Gateway } from "./attempt.js";
import { pauseMs } from "./backoff.js";
import type { Binding } from "./channel.js";
import { connect, on } from "./connection.js";
import { fault } from "./error.js";
import { fetchTransport } from "./fetch.js";
import { isCovered } from "./id.js";
import { createListeners, guarded } from "./listener.js";
import { createNames } from "./name.js";
import type { createKept } from "./resume.js";
import type { Feed, Sink, Wants } from "./signal.js";
import type { createTab } from "./tab.js";
import { createTable } from "./table.js";
import type { ClientOptions, RealtimeChannel, RealtimeClient, RealtimeError, Row, Status, TableOptions, TableStore } from "./types.js";

/** Makes a client. Close it when its user has gone. */
export function createRealtimeClient(options: ClientOptions): RealtimeClient {
  const {
    getToken,
    tabs,
    resume,
    pauseWhenHidden,
    transport = getToken || !globalThis.EventSource ? "fetch" : "eventsource",
    onError = ({ message }) => console.warn(`rowcast: ${message}`),
  } = options;
  let feed: Feed | undefined;
  let has: Wants | null = null;
  let connected = false;
  let closed = false;
  let native = transport === "eventsource";
  let loading: Promise<void> | undefined;
  let failures = 0;
  let makeTab: typeof createTab | undefined;
  let kept: ReturnType<typeof createKept> | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopWatching: (() => void) | undefined;
  const told = new Set<() => void>();
  const tables = new Map<string, TableStore<unknown>>();
  const tokens = new Map<boolean, Promise<string | null>>();

  const report = (found: RealtimeError): void => {
    try {
      onError(found);
    } catch {
      // Whom should it be told.
    }
  };
  const names = createNames(options.events);
  const listeners = createListeners(names, report);

  const gateway: { -readonly [K in keyof Gateway]: Gateway[K] } = {
    ...options,
    url: options.url.replace(/\/+$/, ""),
    transport: typeof transport === "string" ? fetchTransport : transport,
    renews: getToken !== undefined,
    names,
    /** While a token is on its way, nobody asks for another one. */
    token(renew) {
      const asked =
        tokens.get(renew) ??
        (async () => getToken?.({ renew }) ?? null)().finally(() => tokens.get(renew) === asked && tokens.delete(renew));
      tokens.set(renew, asked);
      return asked;
    },
    forget: () => tokens.clear(),
    report,
  };

  const set = (next: Status, found: RealtimeError | null): void => {
    if (next === client.status && found === client.error) return;
    client.status = next;
    client.error = found;
    for (const listener of [...told]) guarded(listener, report);
  };

  const moveTo = (id: string | null | undefined): void => {
    if (id === undefined) return;
    client.lastEventId = id;
    kept?.(id);
  };

  const sink: Sink = {
    state(next, found, carried, id) {
      moveTo(id);
      has = carried;
      connected ||= next === "CONNECTED";
      set(next === "CONNECTING" && connected ? "RECONNECTING" : next, found);
      listeners.greet(has);
    },
    event(event) {
      if (isCovered(event.id, client.lastEventId)) return;
      moveTo(event.id);
      listeners.tell(event, has);
    },
    component: listeners.component,
    reset(reason, streams, id) {
      moveTo(id);
      listeners.reset(reason, streams);
    },
    move(id) {
      if (!isCovered(id, client.lastEventId)) moveTo(id);
    },
    lastId: () => client.lastEventId,
  };

  const share = (): unknown => tabs && globalThis.BroadcastChannel && globalThis.navigator?.locks;

  /** Before what could not be loaded is tried again. */
  const pause = (): Promise<unknown> => new Promise((resolve) => setTimeout(resolve, pauseMs(failures++)));

  /** Loads what is lacking, and goes on. */
  const load = async (): Promise<void> => {
    try {
      if (native) gateway.transport = (await import("./eventsource.js")).eventSourceTransport;
      native = false;
      if (resume && !kept) client.lastEventId = (kept = (await import("./resume.js")).createKept(resume))();
      listeners.judge = (await import("./judge.js")).judgeEvents;
      // Last: what the other tabs want may have to be judged from its first event.
      if (share()) makeTab = (await import("./tab.js")).createTab;
    } catch (cause) {
      report(fault("unavailable", "a part was not loaded", { cause }));
      await pause();
    }
    loading = undefined;
    update();
  };

  const update = (): void => {
    clearTimeout(timer);
    timer = undefined;
    const wanted = !closed && listeners.size > 0;
    if (wanted && pauseWhenHidden) stopWatching ??= on(globalThis.document, "visibilitychange", update);
    if (!wanted) {
      stopWatching?.();
      stopWatching = undefined;
    }
    if (!wanted || (pauseWhenHidden && globalThis.document?.visibilityState === "hidden")) {
      feed?.close();
      feed = undefined;
      connected &&= wanted;
      // Who listens later listens from then on; a pause, or a page that is gone, is made up for.
      if (!wanted && !closed && !resume) client.lastEventId = null;
      return sink.state(wanted ? "CONNECTING" : "DISCONNECTED", null, null);
    }
    const wants = listeners.wants();
    if (native || (share() && !makeTab) || (resume && !kept) || (!listeners.judge && listeners.mixed(wants))) {
      loading ??= load();
      return;
    }
    feed ??= makeTab ? makeTab(`rowcast:${gateway.url}:${tabs === true ? "" : tabs}`, gateway, sink) : connect(gateway, sink);
    feed.want(wants);
    if (has) listeners.greet(has);
  };

  /** Once for all that is asked for in this turn of the event loop. */
  const soon = (): void => {
    timer ??= setTimeout(update, 0);
  };

  const client: { -readonly [K in keyof RealtimeClient]: RealtimeClient[K] } = {
    status: "DISCONNECTED",
    error: null,
    lastEventId: null,
    onStatus(listener) {
      const entry = (): void => listener(client.status, client.error);
      told.add(entry);
      return () => told.delete(entry);
    },
    listen(stream, asked) {
      const remove = listeners.add(stream, asked as never);
      if (!feed && !closed) set("CONNECTING", null);
      soon();
      return () => {
        remove();
        soon();
      };
    },
    on(name, listener, { stream = names.streamOf(name) ?? name, ...more } = {}) {
      names.heard[stream] = [...new Set([...names.of(stream), name])];
      return client.listen(stream, { ...more, onEvent: (event) => event.name === name && listener(event.change as never, event as never) });
    },
    table<T = Row>(stream: string, asked: TableOptions<T> = {}) {
      const name = JSON.stringify([stream, asked.filter ?? "", [asked.key ?? "id"].flat(), asked.scope]);
      const found = tables.get(name);
      if (found) return found as TableStore<T>;
      const use = (used: boolean): void => {
        if (used) tables.set(name, table as never);
        else if (tables.get(name) === (table as never)) tables.delete(name);
      };
      const table = createTable<T & Row>(client, gateway, stream, asked as never, use);
      use(true);
      return table as unknown as TableStore<T>;
    },
    channel(name) {
      const bindings: Binding[] = [];
      let stop: Promise<void | (() => void)> | undefined;
      const begin = (callback: Parameters<RealtimeChannel["subscribe"]>[0]): typeof stop =>
        import("./channel.js").then(
          ({ subscribe }) => subscribe(client, name, bindings, callback),
          async (cause: Error) => {
            callback?.("CHANNEL_ERROR", cause);
            await pause();
            return stop && begin(callback);
          },
        );
      const channel: RealtimeChannel = {
        on(_type, filter, callback) {
          bindings.push({ filter, callback: callback as never });
          return channel;
        },
        subscribe(callback) {
          stop ??= begin(callback);
          return channel;
        },
        unsubscribe() {
          void stop?.then((stop) => stop?.());
          stop = undefined;
        },
      };
      return channel;
    },
    reconnect() {
      closed = false;
      // A token that is on its way, or rows that linger, may be the former user's.
      tokens.clear();
      tables.clear();
      if (feed) feed.reconnect();
      else update();
    },
    close() {
      closed = true;
      update();
    },
  };
  return client;
}
