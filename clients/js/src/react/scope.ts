/**
 * Another user on the same client: the connection is that of the former one's token, and is opened anew.
 *
 * - The token decides whose rows come, and the user's id that a hook is given does not reach the gateway. When it changes, so has the token.
 * - It is done before the new user's store is subscribed to, so that nothing that was sent to the former one reaches it.
 * - Several hooks see the change in one commit; the first of them does it.
 */

import type { RealtimeClient } from "../types.js";

interface Seen {
  readonly scopes: Map<string, string>;
  renewing: boolean;
}

const clients = new WeakMap<RealtimeClient, Seen>();

/** Says for whom a stream is listened to from now on. */
export function enterScope(client: RealtimeClient, stream: string, scope: string): void {
  let seen = clients.get(client);
  if (seen === undefined) clients.set(client, (seen = { scopes: new Map(), renewing: false }));
  const last = seen.scopes.get(stream);
  seen.scopes.set(stream, scope);
  if (last === undefined || last === scope || seen.renewing) return;
  const renewed = seen;
  renewed.renewing = true;
  queueMicrotask(() => (renewed.renewing = false));
  client.reconnect();
}
