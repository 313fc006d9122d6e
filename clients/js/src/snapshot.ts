/** The rows of now: a request of its own, read to its end and closed. */

import { attempt } from "./attempt.js";
import type { Gateway } from "./attempt.js";
import { fault, faultOf } from "./error.js";
import { isObject } from "./event.js";
import { placed } from "./id.js";
import type { RealtimeError, Row } from "./types.js";

/** Told once: rows with the id up to which they know everything, null where that cannot be said; or why there are none. */
export interface Handled {
  done(rows: readonly Row[], id: string | null): void;
  failed(error: RealtimeError, retryMs?: number): void;
}

/** Asks for a stream's rows. Returns how to stop: then nothing is told. */
export function fetchRows(gateway: Gateway, stream: string, filter: string, { done, failed }: Handled): () => void {
  let rows: Row[] = [];
  const fail = (error: RealtimeError | null, retryMs?: number): void => {
    request.close();
    failed(error ?? faultOf(0), retryMs);
  };
  const request = attempt(
    gateway,
    { wants: { [stream]: filter }, snapshot: true, lastEventId: null },
    { done: false },
    (row, event, id) => {
      // Perhaps it had rows.
      if (!row) return fail(fault("malformed", "malformed rows"));
      if (event === "reset") rows = [];
      if (event === "reconnect") fail(null, Number(row["retry"]) || 0);
      if (event !== "snapshot") return;
      rows.push(...[row["rows"]].flat().filter(isObject));
      if (!row["done"]) return;
      request.close();
      done(rows, placed(id) ?? null);
    },
    fail,
  );
  return request.close;
}
