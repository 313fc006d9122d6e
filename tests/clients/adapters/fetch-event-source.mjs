// For browsers: in Node it needs to be told that its page is visible.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };

import { headersOf } from "./job.mjs";

const { fetchEventSource } = await import("@microsoft/fetch-event-source");

export function listen(job, say) {
  fetchEventSource(job.url, {
    headers: headersOf(job),
    onmessage: ({ id, event, data }) => say({ event: { id, name: event || "message", data } }),
    onerror: (error) => say({ error: String(error) }),
  }).then(
    () => say({ end: "returns" }),
    (error) => say({ end: "raises", error: String(error) }),
  );
}
