/**
 * Another user on the same client: the connection is that of the former one's token, and is opened anew.
 *
 * - The token decides whose rows come, and the user's id that a hook is given does not reach the gateway. When it changes, so has the token.
 * - It is done before the new user's store is subscribed to, so that nothing that was sent to the former one reaches it.
 * - Several hooks see the change in one commit; the first of them does it.
 * - Who has a hook, or had the last one that there was, is nobody new on any stream.
 */

import type { RealtimeClient } from "../types.js";

interface Seen {
  /** For whom each stream was listened to last, on this connection. */
  readonly scopes: Map<string, string>;
  /** How many hooks there are for each. */
  readonly hooks: Map<string, number>;
  renewing: boolean;
}

const clients = new WeakMap<RealtimeClient, Seen>();

/** Says for whom a stream is listened to from now on. Returns how to say that it is no longer. */
export function enterScope(client: RealtimeClient, stream: string, scope: string): () => void {
  const seen = clients.get(client) ?? { scopes: new Map<string, string>(), hooks: new Map<string, number>(), renewing: false };
  clients.set(client, seen);
  const { scopes, hooks } = seen;
  const isFirst = hooks.size === 0;
  const isNew = !isFirst && (!hooks.has(scope) || (scopes.get(stream) ?? scope) !== scope);
  const count = (by: number): void => {
    hooks.set(scope, (hooks.get(scope) ?? 0) + by);
    queueMicrotask(() => settle(seen));
  };
  if (isNew && !seen.renewing) {
    scopes.clear();
    client.reconnect();
  }
  scopes.set(stream, scope);
  count(1);
  seen.renewing ||= isFirst || isNew;
  return () => count(-1);
}

/** After a commit, forgets who has no hook any more, unless nobody has one. */
function settle(seen: Seen): void {
  seen.renewing = false;
  if (![...seen.hooks.values()].some(Boolean)) return;
  for (const [scope, count] of seen.hooks) if (!count) seen.hooks.delete(scope);
}
