"use client";
/** How the one connection is. On a server, and while a page is hydrated, it is about to begin. */

import { useCallback, useMemo, useSyncExternalStore } from "react";

import { useRealtimeClient } from "./provider.js";
import type { RealtimeError, Status } from "../types.js";

export interface Connection {
  readonly status: Status;
  /** Null again as soon as it is `CONNECTED`. */
  readonly error: RealtimeError | null;
  /** Comes back at once, also from `DISCONNECTED`. */
  readonly reconnect: () => void;
}

/** Returns the state of the connection with what is wrong, and renders again when either changes. */
export function useConnection(): Connection {
  const client = useRealtimeClient();
  const subscribe = useCallback((changed: () => void) => client.onStatus(changed), [client]);
  const status = useSyncExternalStore(subscribe, () => client.status, beginning);
  const error = useSyncExternalStore(subscribe, () => client.error, nothing);
  return useMemo(() => ({ status, error, reconnect: () => client.reconnect() }), [client, status, error]);
}

/** Returns the state of the connection alone. */
export function useConnectionStatus(): Status {
  return useConnection().status;
}

const beginning = (): Status => "CONNECTING";
const nothing = (): null => null;
