/**
 * Keeps cached queries up to date with streams.
 *
 * - What is fetched and what is told overlap: a change that comes while a query is being fetched is applied to what the query has, and again
 *   to what is fetched, for that may be older. In the end each row is as the last change left it.
 * - What was fetched before the stream was there may have missed a change: it is fetched once more.
 * - A query that waits for being fetched again is left alone: to set its data would make it look fresh.
 */

import { applyChange, isRows } from "./apply.js";
import { originOf } from "./cache.js";
import type { CacheEvent, Query, QueryClient, QueryKey } from "./cache.js";
import type { Change, RealtimeClient, Row } from "../types.js";

export interface BindingOptions {
  /** Whose queries: all whose key begins so. */
  readonly key: QueryKey;
  /** Only the query with exactly this key. */
  readonly exact?: boolean;
  /** What the rows pass, in PostgREST's syntax, where the queries do not have them all. */
  readonly filter?: string;
  /** The column, or columns, that tell rows apart; `id` where nothing is said. */
  readonly rowKey?: string | readonly string[];
  /** Orders a list after a change; new rows are at its end where nothing is said. */
  readonly compare?: (a: Row, b: Row) => number;
  /** Returns a query's data with the change, the same where nothing changes; instead of changing lists of rows. */
  readonly apply?: (data: unknown, change: Change, queryKey: QueryKey) => unknown;
  /** Has the queries fetched again at each change, instead of changing their data. */
  readonly invalidate?: boolean;
}

/** A query's key, or more. */
export type Binding = QueryKey | BindingOptions;

/** Binds queries to streams: `{ bookings: ["bookings"] }`. Returns how to stop. */
export function bindQueryClient(queryClient: QueryClient, client: RealtimeClient, bindings: Readonly<Record<string, Binding>>): () => void {
  const stops = Object.entries(bindings).map(([stream, binding]) => bind(queryClient, client, stream, "key" in binding ? binding : { key: binding }));
  return () => stops.forEach((stop) => stop());
}

function bind(queryClient: QueryClient, client: RealtimeClient, stream: string, binding: BindingOptions): () => void {
  const cache = queryClient.getQueryCache();
  const exact = binding.exact ?? false;
  const columns = [binding.rowKey ?? "id"].flat();
  /** By query, what came while it was being fetched. */
  const held = new Map<string, Change[]>();
  /** Queries that are fetched for the first time: TanStack cannot begin that anew, so it is done afterwards. */
  const late = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | null = null;
  let ready = false;

  const bound = (query: Query): boolean => {
    const origin = originOf(query);
    return origin === null || (origin.stream === stream && origin.filter === (binding.filter ?? ""));
  };
  const queries = (): Query[] => cache.findAll({ queryKey: binding.key, exact }).filter(bound);

  function write(query: Query, changes: readonly Change[]): void {
    const before = query.state.data;
    let data = before;
    for (const change of changes) {
      if (binding.apply !== undefined) data = binding.apply(data, change, query.queryKey);
      else if (isRows(data, columns)) data = applyChange(data, change, columns, binding.compare);
    }
    if (data !== before) queryClient.setQueryData(query.queryKey, data);
  }

  function change(change: Change): void {
    for (const query of queries()) {
      if (isFetching(query)) held.set(query.queryHash, [...(held.get(query.queryHash) ?? []), change]);
      if (isShown(query)) write(query, [change]);
    }
  }

  function renew(): void {
    // A first fetch of `realtimeQueryOptions` ends with rows that are up to date, whatever happens meanwhile.
    const sound = (query: Query): boolean => originOf(query) !== null && isFirst(query);
    for (const query of queries()) if (isFirst(query) && !sound(query)) late.add(query.queryHash);
    void queryClient.invalidateQueries({ queryKey: binding.key, exact, predicate: (query) => bound(query) && !sound(query) });
  }

  /** Once for all changes that come together. */
  function renewSoon(): void {
    timer ??= setTimeout(() => {
      timer = null;
      renew();
    }, 0);
  }

  function fetched({ type, query, action }: CacheEvent): void {
    const { queryHash } = query;
    const done = type === "updated" && action?.type === "success" && action.manual !== true;
    // What was cancelled has the data again that it had before.
    const cancelled = action?.type === "setState" && !isFetching(query);
    if (!done && !cancelled && type !== "removed" && action?.type !== "error") return;
    const changes = held.get(queryHash);
    const again = late.delete(queryHash);
    held.delete(queryHash);
    if (changes !== undefined && (done || (cancelled && isShown(query)))) write(query, changes);
    if (done && again) void queryClient.invalidateQueries({ queryKey: query.queryKey, exact: true });
  }

  const stopWatching = cache.subscribe(fetched);
  const stopListening = client.listen(stream, {
    ...(binding.filter === undefined ? {} : { filter: binding.filter }),
    onEvent: (event) => (binding.invalidate === true || isTruncated(event.change) ? renewSoon() : change(event.change)),
    onReset: renew,
    onReady() {
      // Later connections go on after the last one, or say `reset`.
      if (!ready) renew();
      ready = true;
    },
  });
  return () => {
    stopListening();
    stopWatching();
    if (timer !== null) clearTimeout(timer);
  };
}

/** One that is paused, because the browser is offline, goes on later. */
function isFetching(query: Query): boolean {
  return query.state.fetchStatus !== "idle";
}

/** Whether it has data that is not to be fetched again. */
function isShown({ state }: Query): boolean {
  return state.data !== undefined && !state.isInvalidated;
}

function isFirst(query: Query): boolean {
  return isFetching(query) && query.state.data === undefined;
}

/** The row was too large, and what came is its key. */
function isTruncated(change: Change): boolean {
  return change.truncated === true;
}
