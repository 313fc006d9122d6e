import { createEventSource } from "eventsource-client";
import { headersOf } from "./job.mjs";

export function listen(job, say) {
  createEventSource({
    url: job.url,
    headers: headersOf({ ...job, lastEventId: null }),
    initialLastEventId: job.lastEventId ?? undefined,
    onConnect: () => say({ open: true }),
    onMessage: ({ id, event, data }) => say({ event: { id: id ?? "", name: event ?? "message", data } }),
    onScheduleReconnect: ({ delay }) => say({ error: `comes back in ${delay} ms` }),
    // Called when it is closed for good too, and then nothing is scheduled: it says so by its state.
    onDisconnect: () => {},
  });
}
