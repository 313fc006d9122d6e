import { EventSource } from "eventsource";
import { addressWithId, follow } from "./job.mjs";

export function listen(job, say) {
  const withToken = (address, init) => fetch(address, { ...init, headers: { ...init.headers, Authorization: `Bearer ${job.token}` } });
  follow(new EventSource(addressWithId(job), { fetch: withToken }), job.names, say);
}
