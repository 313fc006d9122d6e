"use client";
/** Which client the hooks below use. It is made outside, and closed by whoever made it. */

import { createContext, createElement, useContext } from "react";
import type { ReactElement, ReactNode } from "react";

import type { RealtimeClient } from "../types.js";

const ClientContext = createContext<RealtimeClient | null>(null);

/** Hands a client to all hooks inside. Another client is another user: nothing of the former one's rows remains. */
export function RealtimeProvider(props: { readonly client: RealtimeClient; readonly children?: ReactNode }): ReactElement {
  return createElement(ClientContext.Provider, { value: props.client }, props.children);
}

/** Returns the client of the nearest provider, and throws where there is none. */
export function useRealtimeClient(): RealtimeClient {
  const client = useContext(ClientContext);
  if (client === null) {
    throw new Error("rowcast: no <RealtimeProvider client={…}> around this component. Put one around the part of the tree that uses its hooks.");
  }
  return client;
}
