import { Agent, EventSource } from "undici";
import { addressWithId, follow } from "./job.mjs";

export function listen(job, say) {
  // It takes no headers; what carries its requests does.
  const dispatcher = new Agent().compose(
    (dispatch) => (options, handler) => dispatch({ ...options, headers: { ...options.headers, authorization: `Bearer ${job.token}` } }, handler),
  );
  follow(new EventSource(addressWithId(job), { node: { dispatcher } }), job.names, say);
}
