/**
 * What a hook subscribes to: the client's store, or nothing.
 *
 * - The store is looked up in a browser only. A server may have one client for all requests, and a store that is kept there
 *   would show one user's rows to the next: what a server renders is made of the component's own `initial`.
 * - It is looked up again at each subscription, for the client forgets a store that nobody has subscribed to for a while.
 */

import type { RealtimeClient, TableOptions, TableState, TableStore } from "../types.js";

export interface Source<T> {
  subscribe(changed: () => void): () => void;
  getState(): TableState<T>;
  getServerState(): TableState<T>;
}

const NOTHING: TableState<never> = { rows: [], loading: false, error: null, status: "DISCONNECTED", lastEventId: null };

/** Of a hook that is not to open anything. */
export const IDLE: Source<never> = { subscribe: () => () => undefined, getState: () => NOTHING, getServerState: () => NOTHING };

/** Returns the source of one stream, filter, key and scope. */
export function createSource<T>(client: RealtimeClient, stream: string, options: TableOptions<T>): Source<T> {
  const rows = options.initial ?? [];
  const server: TableState<T> = { rows, loading: options.initial === undefined, error: null, status: "CONNECTING", lastEventId: null };
  let store: TableStore<T> | null = null;
  return {
    subscribe(changed) {
      store = client.table<T>(stream, options);
      return store.subscribe(changed);
    },
    getState() {
      store ??= client.table<T>(stream, options);
      return store.state;
    },
    getServerState: () => server,
  };
}
