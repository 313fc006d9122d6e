/**
 * A stream by the browser's own EventSource: with cookies.
 *
 * - It says neither why it was refused nor what `retry:` was, and sends no header: the id goes in the address, and a status is asked for again.
 * - It would come back by itself, with its own pauses. It is closed instead, and the connection comes back.
 * - All tabs of an origin have one cookie. With tokens they take turns, so that none opens its stream with what another one has just set.
 */

import { refusal } from "./fetch.js";
import type { Handlers, OpenRequest, Transport } from "./types.js";

const CONTROL = ["ready", "reset", "snapshot", "checkpoint", "auth-expiring", "reconnect", "closed"];

export const eventSourceTransport: Transport = {
  seesHeartbeats: false,

  open(request, handlers) {
    const controller = new AbortController();
    const { url, token } = request;
    const begin = (): Promise<void> => follow(request, handlers, controller.signal);
    // Who is closed while it waits has nothing to tell.
    void (token === null ? begin() : inTurn(url, begin, controller.signal).catch(() => undefined));
    return { close: () => controller.abort() };
  },

  async post(url, token) {
    await inTurn(url, () => openSession(url, token));
    const response = await fetch(url, { method: "POST", headers: { Authorization: `Bearer ${token}` } });
    return response.status;
  },
};

/** Resolves when the stream is open, or over. */
async function follow({ url, token, lastEventId, events }: OpenRequest, handlers: Handlers, signal: AbortSignal): Promise<void> {
  const end = (end: Parameters<Handlers["onEnd"]>[0]): void => {
    if (!signal.aborted) handlers.onEnd(end);
  };
  try {
    const refused = token === null ? null : await openSession(url, token, signal);
    if (refused) return end(refused);
    if (signal.aborted) return;
  } catch {
    return end({});
  }
  const source = new EventSource(lastEventId === null ? url : `${url}&lastEventId=${lastEventId}`, { withCredentials: true });
  return new Promise((settle) => {
    signal.addEventListener("abort", () => {
      source.close();
      settle();
    });
    source.onopen = () => {
      settle();
      handlers.onAlive();
      handlers.onOpen();
    };
    for (const event of new Set([...CONTROL, ...events])) {
      source.addEventListener(event, ({ data, lastEventId }: MessageEvent<string>) => {
        if (signal.aborted) return;
        handlers.onAlive();
        handlers.onMessage({ id: lastEventId, event, data });
      });
    }
    source.onerror = () => {
      const refused = source.readyState === EventSource.CLOSED;
      source.close();
      if (!refused) {
        settle();
        return end({});
      }
      // HEAD has the status that it was refused with, and opens nothing.
      fetch(url, { method: "HEAD", credentials: "include", signal })
        .then(refusal)
        .then(({ status, ...rest }) => end(status === 200 ? {} : { status, ...rest }))
        .catch(() => end({}))
        .finally(settle);
    };
  });
}

/** Lets one tab after the other do its work, where the browser has locks. */
async function inTurn<T>(url: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  let begun = false;
  const turn = (): Promise<T> => {
    begun = true;
    return work();
  };
  try {
    if (globalThis.navigator?.locks) return await navigator.locks.request(`rowcast:session:${sessionOf(url)}`, signal ? { signal } : {}, turn);
  } catch (cause) {
    if (begun || signal?.aborted) throw cause;
    // The browser refuses the page its locks.
  }
  return turn();
}

/** Makes a cookie of a token. Returns a refusal, if there is one. */
async function openSession(url: string, token: string, signal?: AbortSignal): Promise<{ status: number } | null> {
  const response = await fetch(sessionOf(url), {
    method: "POST",
    credentials: "include",
    headers: { Authorization: `Bearer ${token}` },
    ...(signal && { signal }),
  });
  return response.ok ? null : refusal(response);
}

function sessionOf(url: string): string {
  return url.replace(/\/streams\/.*/s, "/auth/session");
}
