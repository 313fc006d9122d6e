/** A stream by `fetch`: with a token in a header, or with cookies. */

import { createParser } from "./parser.js";
import type { Handlers, OpenRequest, Transport } from "./types.js";

export const fetchTransport: Transport = {
  seesHeartbeats: true,

  open(request, handlers) {
    const controller = new AbortController();
    void follow(request, handlers, controller.signal);
    return { close: () => controller.abort() };
  },

  async post(url, token) {
    const response = await fetch(url, { method: "POST", headers: authorization(token) });
    return response.status;
  },
};

export function authorization(token: string): { Authorization: string } {
  return { Authorization: `Bearer ${token}` };
}

async function follow({ url, token, lastEventId }: OpenRequest, handlers: Handlers, signal: AbortSignal): Promise<void> {
  let retryMs: number | undefined;
  const end = (end: Parameters<Handlers["onEnd"]>[0]): void => {
    if (!signal.aborted) handlers.onEnd({ ...(retryMs && { retryMs }), ...end });
  };
  try {
    const headers = { Accept: "text/event-stream", ...(token !== null && authorization(token)), ...(lastEventId !== null && { "Last-Event-ID": lastEventId }) };
    const response = await fetch(url, { headers, signal, cache: "no-store", credentials: token === null ? "include" : "same-origin" });
    // A page with 200 is some proxy's.
    if (response.status !== 200 || !/^text\/event-stream/.test(response.headers.get("Content-Type") ?? "")) return end(await refusal(response));
    handlers.onOpen();
    const parse = createParser({
      onMessage(message) {
        if (!signal.aborted) handlers.onMessage(message);
      },
      onRetry(ms) {
        retryMs = ms;
      },
    });
    const decoder = new TextDecoder();
    // React Native's fetch has no body to read: it ends in the catch below.
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    for (let part = await reader.read(); !part.done && !signal.aborted; part = await reader.read()) {
      handlers.onAlive();
      parse(decoder.decode(part.value, { stream: true }));
    }
  } catch {
    // What a browser says of a network error says nothing.
  }
  end({});
}

/** Reads an answer that is no stream: RFC 9457's `detail`, and when to come back. */
export async function refusal(response: Response): Promise<{ status: number; detail?: string; retryMs?: number }> {
  const problem = (await response.json().catch(() => null)) as { detail?: string } | null;
  const after = response.headers.get("Retry-After") ?? "";
  // Seconds, or a date.
  const retryMs = Number(after) * 1000 || Date.parse(after) - Date.now();
  return { status: response.status, ...(problem?.detail && { detail: String(problem.detail) }), ...(retryMs > 0 && { retryMs }) };
}
