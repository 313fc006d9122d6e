/** A query whose rows are the gateway's snapshot. */

import type { Origin, QueryKey } from "./cache.js";
import { isHopeless } from "../hopeless.js";
import type { RealtimeClient, Row, TableOptions } from "../types.js";

export interface RealtimeQueryOptions<T = Row> extends Omit<TableOptions<T>, "initial" | "onChange"> {
  /** The stream, and the filter if there is one, where nothing is said. */
  readonly queryKey?: QueryKey;
}

let fetches = 0;

/**
 * Returns options for `useQuery`: rows are fetched once, when the connection has the stream, and are never old by themselves.
 * `bindQueryClient` with the same stream and filter keeps them up to date.
 */
export function realtimeQueryOptions<T = Row>(
  client: RealtimeClient,
  stream: string,
  { queryKey, ...table }: RealtimeQueryOptions<T> = {},
): {
  queryKey: QueryKey;
  queryFn: (context: { readonly signal?: AbortSignal }) => Promise<readonly T[]>;
  staleTime: number;
  meta: { rowcast: Origin };
} {
  const filter = table.filter ?? "";
  return {
    queryKey: queryKey ?? (filter === "" ? [stream] : [stream, filter]),
    queryFn: ({ signal }) => fetchRows(client, stream, table, signal),
    staleTime: Infinity,
    meta: { rowcast: { stream, filter } },
  };
}

/** Resolves with the rows as soon as they are there. Rejects where they cannot be had, and when the query is cancelled. */
function fetchRows<T>(client: RealtimeClient, stream: string, options: TableOptions<T>, signal: AbortSignal | undefined): Promise<readonly T[]> {
  // A scope of its own: a store that somebody else has would give rows that it has had for a while, also right after a reset.
  const scope = `query-${++fetches}`;
  const store = client.table<T>(stream, { ...options, scope });
  return new Promise((resolve, reject) => {
    const look = (): void => {
      if (ended) return;
      const { state } = store;
      if (isHopeless(state)) end(() => reject(state.error));
      else if (!state.loading) end(() => resolve(state.rows));
    };
    const abort = (): void => end(() => reject(signal?.reason));
    let ended = false;
    let stop: (() => void) | null = null;
    const end = (settle: () => void): void => {
      ended = true;
      stop?.();
      signal?.removeEventListener("abort", abort);
      settle();
    };
    signal?.addEventListener("abort", abort);
    stop = store.subscribe(look);
    if (signal?.aborted) abort();
    else look();
    if (ended) stop();
  });
}
