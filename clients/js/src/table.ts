/**
 * Rows that keep up: a snapshot, then each change.
 *
 * - The snapshot is asked for once the connection has the stream, so that nothing lies between the two. What comes meanwhile is kept;
 *   what the snapshot knows already is skipped, and the rest applied, which may be done twice: by key a row is set, or taken away.
 * - After a reset the rows that are shown stay, and keep up as well as they can, until the new ones are there.
 * - It works while somebody has subscribed, and a moment longer.
 */

import type { Gateway } from "./attempt.js";
import { pauseMs } from "./backoff.js";
import { fault, passes } from "./error.js";
import { isCovered } from "./id.js";
import { guarded } from "./listener.js";
import { fetchRows } from "./snapshot.js";
import type { Handled } from "./snapshot.js";
import type { RealtimeClient, RealtimeError, RealtimeEvent, Row, TableOptions, TableState, TableStore } from "./types.js";

const LINGER_MS = 1000;

/** Makes a store. `use` is told when somebody begins to use it, and when nobody does any more. */
export function createTable<T extends Row>(
  client: RealtimeClient,
  gateway: Gateway,
  stream: string,
  { filter = "", key = "id" as never, compare, initial, fetchSnapshot, onChange }: TableOptions<T>,
  use: (used: boolean) => void,
): TableStore<T> {
  const columns: readonly string[] = [key].flat();
  const subscribers = new Set<() => void>();
  let rows: Map<string | undefined, T>;
  let loading = !initial;
  /** Whether all rows are to be got anew, and what has come since they were asked for. */
  let needed = true;
  let kept: RealtimeEvent<T>[] = [];
  let failure: RealtimeError | null = null;
  let id: string | null = null;
  let tries = 0;
  let fetching: (() => void) | undefined;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let linger: ReturnType<typeof setTimeout> | undefined;
  let stop: (() => void) | undefined;

  const keyOf = (row: Partial<T> | null): string | undefined => {
    const values = columns.map((column) => row?.[column]);
    return values.includes(undefined) ? undefined : JSON.stringify(values);
  };
  const keyless = (): RealtimeError => fault("malformed", `a row of ${stream} without ${columns}, its key`);
  const inOrder = (a: T, b: T): number => {
    const column = columns.find((column) => a[column] !== b[column]);
    return column ? ((a[column] as number) < (b[column] as number) ? -1 : 1) : 0;
  };
  const sorted = (): readonly T[] => [...rows.values()].sort(compare ?? inOrder);
  const set = (all: readonly T[]): void => {
    rows = new Map(all.map((row) => [keyOf(row), row]));
    if (rows.delete(undefined)) gateway.report(keyless());
  };

  set(initial ?? []);
  const serverState: TableState<T> = { rows: sorted(), loading, error: null, status: "CONNECTING", lastEventId: null };
  let state = serverState;

  /** Tells that something is different, perhaps other rows. */
  const tell = (rows = state.rows): void => {
    const { status, error } = client;
    state = { rows, loading, error: failure ?? error, status, lastEventId: id };
    for (const subscriber of [...subscribers]) guarded(subscriber, gateway.report);
  };

  const apply = ({ id: at, change: { record, old_record, truncated } }: RealtimeEvent<T>): void => {
    if (isCovered(at, id)) return;
    id = at;
    const before = keyOf(old_record);
    const after = keyOf(record);
    if (before !== after) rows.delete(before);
    if (record && after) rows.set(after, truncated ? { ...rows.get(after), ...record } : record);
    if (!before && !after) throw keyless();
  };

  const abort = (): void => {
    fetching?.();
    fetching = undefined;
    clearTimeout(retry);
    kept = [];
  };

  const handled: Handled = {
    done(all, at) {
      const since = kept;
      abort();
      needed = loading = false;
      failure = null;
      tries = 0;
      set(all as readonly T[]);
      id = at;
      for (const event of since) guarded(() => apply(event), gateway.report);
      tell(sorted());
    },
    failed(error, retryMs) {
      abort();
      failure = error;
      gateway.report(error);
      if (passes(error)) retry = setTimeout(refresh, pauseMs(tries++, retryMs, gateway.backoff));
      tell();
    },
  };

  /** Gets all rows anew. */
  const refresh = (): void => {
    abort();
    needed = true;
    fetching = fetchSnapshot ? fetchBy(fetchSnapshot, handled) : fetchRows(gateway, stream, filter, handled);
  };

  const start = (): void => {
    use(true);
    needed = true;
    const stopListening = client.listen<T>(stream, {
      filter,
      onEvent(event) {
        onChange?.(event);
        if (fetching) kept.push(event);
        if (loading) return;
        apply(event);
        tell(sorted());
      },
      onReset: refresh,
      onReady: () => needed && !fetching && refresh(),
    });
    const stopStatus = client.onStatus((status) => {
      // What was refused, or closed, asks for nothing.
      if (status === "DISCONNECTED") abort();
      tell();
    });
    stop = () => {
      stopListening();
      stopStatus();
      abort();
      use(false);
      stop = undefined;
    };
    tell();
  };

  return {
    serverState,
    get state() {
      return state;
    },
    subscribe(listener) {
      const entry = (): void => listener();
      subscribers.add(entry);
      clearTimeout(linger);
      if (!stop) start();
      return () => {
        if (subscribers.delete(entry) && !subscribers.size) linger = setTimeout(() => stop?.(), LINGER_MS);
      };
    },
  };
}

/** Asks an application's own function for the rows. */
function fetchBy<T extends Row>(fetchSnapshot: () => Promise<readonly T[]>, { done, failed }: Handled): () => void {
  let stopped = false;
  (async () => fetchSnapshot())().then(
    (rows) => stopped || done(rows, null),
    (cause) => stopped || failed(fault("unavailable", "fetchSnapshot failed", { cause })),
  );
  return () => {
    stopped = true;
  };
}
