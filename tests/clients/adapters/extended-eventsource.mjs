import { EventSource } from "extended-eventsource";
import { addressWithId, follow, headersOf } from "./job.mjs";

export function listen(job, say) {
  const headers = headersOf({ ...job, lastEventId: null });
  follow(new EventSource(addressWithId(job), { headers }), job.names, say);
}
