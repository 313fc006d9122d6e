"use client";
/**
 * The rows of any stream in a component.
 *
 * - However many components, the client has one connection, and one store for each stream, filter, key and scope.
 * - Options may be written inline: what is compared is what they say. Callbacks are those of the last render.
 * - Rows stay while the connection comes back. They are gone at once where the stream, the filter or the scope is another.
 */

import { useCallback, useEffect, useMemo, useRef, useSyncExternalStore } from "react";

import { filterText } from "./filter.js";
import type { FilterOption } from "./filter.js";
import { useRealtimeClient } from "./provider.js";
import { enterScope } from "./scope.js";
import { createSource, IDLE } from "./source.js";
import type { Source } from "./source.js";
import { createView } from "./view.js";
import { isHopeless } from "../hopeless.js";
import type { RealtimeClient, RealtimeError, RealtimeEvent, Row, Status, TableOptions } from "../types.js";

export interface RealTimeOptions<T = Row, S = T> {
  readonly filter?: FilterOption;
  /** The column, or columns, that tell rows apart; `id` where nothing is said. */
  readonly key?: TableOptions<T>["key"];
  /** Orders the rows of this component; by key where nothing is said. */
  readonly compare?: ((a: T, b: T) => number) | undefined;
  /** False opens nothing and shows nothing. */
  readonly enabled?: boolean | undefined;
  /** Rows that a server has rendered: `loading` is false at once. They count for the first client, stream, filter and scope of this component only. */
  readonly initial?: readonly T[] | undefined;
  /** Fetches the rows in another way than the gateway's `snapshot=1`. */
  readonly fetchSnapshot?: (() => Promise<readonly T[]>) | undefined;
  /** Chooses among the rows, or makes others of them. */
  readonly select?: ((rows: readonly T[]) => readonly S[]) | undefined;
  /** Called with each event as it comes, and not for rows that were there before. */
  readonly onChange?: ((event: RealtimeEvent<T>) => void) | undefined;
  /** For whom the rows are. Another one begins without rows, and with a new token. */
  readonly scope?: string | number | undefined;
}

/** How the rows are, beside the rows. */
export interface RealTimeState {
  /** Until the rows are there for the first time, or it is certain that they will not come. */
  readonly loading: boolean;
  readonly error: RealtimeError | null;
  readonly status: Status;
  readonly lastEventId: string | null;
  /** Comes back at once, also from `DISCONNECTED`. */
  readonly reconnect: () => void;
}

export interface RealTimeTable<S = Row> extends RealTimeState {
  readonly rows: readonly S[];
}

/** Returns the rows of a stream, and renders again with each change of them. */
export function useRealTimeTable<T = Row, S = T>(stream: string, options: RealTimeOptions<T, S> = {}): RealTimeTable<S> {
  const client = useRealtimeClient();
  const filter = filterText(options.filter);
  const scope = options.scope === undefined ? null : String(options.scope);
  const open = options.enabled !== false && filter !== null;
  const identity = open ? JSON.stringify([stream, filter, [options.key ?? "id"].flat(), scope]) : null;

  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  useEffect(() => {
    return identity !== null && scope !== null ? enterScope(client, stream, scope) : undefined;
  }, [client, stream, scope, identity]);

  const source = useSource<T>(client, identity, stream, filter ?? "", options);
  const state = useSyncExternalStore(source.subscribe, source.getState, source.getServerState);

  const listens = identity !== null && options.onChange !== undefined;
  useEffect(() => {
    if (!listens) return undefined;
    return client.listen<T>(stream, { ...(filter ? { filter } : {}), onEvent: (event) => latest.current.onChange?.(event) });
  }, [client, stream, filter, listens]);

  const view = useMemo(() => createView<T, S>(), []);
  const rows = view(state.rows, options.compare, options.select);
  const reconnect = useCallback(() => client.reconnect(), [client]);
  return useMemo(() => {
    const { error, status, lastEventId } = state;
    return { rows, loading: state.loading && !isHopeless(state), error, status, lastEventId, reconnect };
  }, [state, rows, reconnect]);
}

/** Returns the same source as long as the client and the identity are the same. */
function useSource<T>(
  client: RealtimeClient,
  identity: string | null,
  stream: string,
  filter: string,
  options: Pick<RealTimeOptions<T>, "key" | "initial" | "fetchSnapshot" | "scope">,
): Source<T> {
  const first = useRef<{ client: RealtimeClient; identity: string } | null>(null);
  if (identity !== null) first.current ??= { client, identity };
  // Each source has its own: one that lingers must not fetch what the next one's component would.
  const fetching = useMemo(() => ({ fetch: options.fetchSnapshot }), [client, identity]);
  useEffect(() => {
    fetching.fetch = options.fetchSnapshot;
  });
  return useMemo(() => {
    if (identity === null) return IDLE;
    const { fetch } = fetching;
    const initial = first.current?.client === client && first.current.identity === identity ? options.initial : undefined;
    return createSource<T>(client, stream, {
      ...(filter === "" ? {} : { filter }),
      ...(options.key === undefined ? {} : { key: options.key }),
      ...(options.scope === undefined ? {} : { scope: String(options.scope) }),
      ...(initial === undefined ? {} : { initial }),
      ...(fetch === undefined ? {} : { fetchSnapshot: () => (fetching.fetch ?? fetch)() }),
    });
  }, [client, identity]);
}
