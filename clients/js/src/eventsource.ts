/**
 * A stream by the browser's own EventSource: with cookies.
 *
 * - It says neither why it was refused nor what `retry:` was, and sends no header: the id goes in the address, and a status is asked for again.
 * - It would come back by itself, with its own pauses. It is closed instead, and the connection comes back.
 */

import { refusal } from "./fetch.js";
import type { Handlers, OpenRequest, Transport } from "./types.js";

const CONTROL = ["ready", "reset", "snapshot", "checkpoint", "auth-expiring", "reconnect", "closed"];

export const eventSourceTransport: Transport = {
  seesHeartbeats: false,

  open(request, handlers) {
    const controller = new AbortController();
    void follow(request, handlers, controller.signal);
    return { close: () => controller.abort() };
  },

  async post(url, token) {
    await openSession(url, token);
    const response = await fetch(url, { method: "POST", headers: { Authorization: `Bearer ${token}` } });
    return response.status;
  },
};

async function follow({ url, token, lastEventId, events }: OpenRequest, handlers: Handlers, signal: AbortSignal): Promise<void> {
  const end = (end: Parameters<Handlers["onEnd"]>[0]): void => {
    if (!signal.aborted) handlers.onEnd(end);
  };
  try {
    const refused = token === null ? null : await openSession(url, token);
    if (refused) return end(refused);
    if (signal.aborted) return;
  } catch {
    return end({});
  }
  const source = new EventSource(lastEventId === null ? url : `${url}&lastEventId=${lastEventId}`, { withCredentials: true });
  signal.addEventListener("abort", () => source.close());
  source.onopen = () => {
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
    if (!refused) return end({});
    // HEAD has the status that it was refused with, and opens nothing.
    fetch(url, { method: "HEAD", credentials: "include", signal })
      .then(refusal)
      .then(({ status, ...rest }) => end(status === 200 ? {} : { status, ...rest }))
      .catch(() => end({}));
  };
}

/** Makes a cookie of a token. Returns a refusal, if there is one. */
async function openSession(url: string, token: string): Promise<{ status: number } | null> {
  const response = await fetch(url.replace(/\/streams\/.*/s, "/auth/session"), {
    method: "POST",
    credentials: "include",
    headers: { Authorization: `Bearer ${token}` },
  });
  return response.ok ? null : refusal(response);
}
