import EventSourcePackage from "launchdarkly-eventsource";
import { headersOf } from "./job.mjs";

const { EventSource } = EventSourcePackage;

export function listen(job, say) {
  const source = new EventSource(job.url, { headers: headersOf(job) });
  for (const name of job.names)
    source.addEventListener(name, (event) => {
      if (event?.data !== undefined) say({ event: { id: event.lastEventId, name, data: event.data } });
    });
  source.addEventListener("open", () => say({ open: true }));
  source.addEventListener("error", (event) => say({ error: String(event?.message ?? "error") }));
  source.addEventListener("closed", (event) => {
    // One of its own, without data, and not the gateway's.
    if (event?.data === undefined) say({ end: "closed" });
  });
}
