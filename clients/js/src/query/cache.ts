/** What is used of TanStack Query, version 4 or 5: said here, so that neither is imported. */

export type QueryKey = readonly unknown[];

export interface Query {
  readonly queryKey: QueryKey;
  readonly queryHash: string;
  readonly meta?: Record<string, unknown> | undefined;
  readonly state: { readonly data: unknown; readonly fetchStatus: string; readonly isInvalidated: boolean };
}

export interface QueryFilters {
  readonly queryKey: QueryKey;
  readonly exact?: boolean;
}

/** `action` is there where a query was `updated`; a `success` that is `manual` is `setQueryData`. */
export interface CacheEvent {
  readonly type: string;
  readonly query: Query;
  readonly action?: { readonly type: string; readonly manual?: boolean };
}

export interface QueryClient {
  getQueryCache(): {
    findAll(filters: QueryFilters): Query[];
    subscribe(listener: (event: CacheEvent) => void): () => void;
  };
  setQueryData(queryKey: QueryKey, data: unknown): unknown;
  invalidateQueries(filters: QueryFilters & { predicate?: (query: Query) => boolean }): Promise<void>;
}

/** What a query of `realtimeQueryOptions` says of itself. */
export interface Origin {
  readonly stream: string;
  readonly filter: string;
}

/** Returns where a query's rows come from, if it is one of `realtimeQueryOptions`. */
export function originOf(query: Query): Origin | null {
  return (query.meta?.["rowcast"] as Origin | undefined) ?? null;
}
