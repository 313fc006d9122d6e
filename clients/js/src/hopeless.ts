/** Whether rows that are waited for will come by themselves. */

import type { TableState } from "./types.js";

/** Says that they will not: the connection was refused, or the request for the rows, which would be refused again. */
export function isHopeless({ loading, error, status }: TableState<unknown>): boolean {
  return loading && error !== null && (status === "DISCONNECTED" || (error.code !== "unavailable" && error.code !== "malformed"));
}
