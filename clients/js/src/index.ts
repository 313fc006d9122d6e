/** Rowcast: rows of Postgres that keep up. */

export { createRealtimeClient } from "./client.js";
export type * from "./types.js";
