/** What can go wrong. */

import type { RealtimeError } from "./types.js";

/** Makes an error for programs and people; `more` is a status, or what an application's own function has thrown. */
export function fault(code: RealtimeError["code"], message: string, more: { status?: number; cause?: unknown } = {}): RealtimeError {
  return Object.assign(new Error(message), { name: "RealtimeError", code, ...more });
}

/** Makes an error of how a request has ended; without a status the network is at fault. 408, 425 and 429 pass. */
export function faultOf(status: number | undefined, detail?: string): RealtimeError {
  if (!status) return fault("unavailable", detail ?? "connection lost");
  const final = /^4(?!08|25|29)/.test(`${status}`);
  const code = status === 401 ? "unauthorized" : status === 403 ? "forbidden" : final ? "bad-request" : "unavailable";
  return fault(code, detail ?? `status ${status}`, { status });
}

/** Whether it may pass by itself. */
export function passes({ code }: RealtimeError): boolean {
  return code === "unavailable" || code === "malformed";
}
