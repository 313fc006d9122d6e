/** The shape of supabase-js: `client.channel("bookings").on("postgres_changes", …).subscribe()`. A stream takes the place of a table. */

import { fault } from "./error.js";
import type { PostgresChange, PostgresChangesFilter, RealtimeChannel, RealtimeClient } from "./types.js";

/** What was asked for with `on`. */
export interface Binding {
  readonly filter: PostgresChangesFilter;
  readonly callback: (payload: PostgresChange) => void;
}

type Callback = NonNullable<Parameters<RealtimeChannel["subscribe"]>[0]>;

/** Listens to what was asked for, and tells how the channel is. Returns how to stop. */
export function subscribe(client: RealtimeClient, name: string, bindings: readonly Binding[], callback?: Callback): () => void {
  const ready = new Set<Binding>();
  let subscribed = false;
  let resetting = false;
  const greet = (): void => {
    if (subscribed || resetting || ready.size < bindings.length) return;
    subscribed = true;
    callback?.("SUBSCRIBED");
  };
  const stops = bindings.map((binding) => {
    const { event, schema = "*", table = name, filter } = binding.filter;
    return client.listen(table, {
      // Where supabase writes a comma, here stands &. One inside a list or quotes is no such.
      ...(filter ? { filter: filter.replace(/,(?=\w+=)/g, "&") } : {}),
      onReady() {
        ready.add(binding);
        greet();
      },
      onReset(reason) {
        // Each binding is told, one after the other: the channel says it once.
        if (resetting) return;
        resetting = true;
        subscribed = false;
        try {
          callback?.("CHANNEL_ERROR", fault("unavailable", `history lost: ${reason}`));
        } finally {
          // Behind an `unsubscribe` of that callback.
          queueMicrotask(() => {
            resetting = false;
            greet();
          });
        }
      },
      onEvent({ change }) {
        const { type, record, old_record, table, commit_timestamp } = change;
        if ((event !== "*" && event !== type) || (schema !== "*" && schema !== change.schema)) return;
        binding.callback({ schema: change.schema, table, commit_timestamp, eventType: type, new: record ?? {}, old: old_record ?? {}, errors: null });
      },
    });
  });
  stops.push(
    client.onStatus((status, error) => {
      if (status === "CONNECTED") return;
      ready.clear();
      subscribed = false;
      if (status === "DISCONNECTED" && !error) callback?.("CLOSED");
      else if (error) callback?.(status === "CONNECTING" ? "TIMED_OUT" : "CHANNEL_ERROR", error);
    }),
  );
  // A client that was refused already, and does not try again for this, has nothing more to tell.
  const timer = setTimeout(() => {
    if (client.status === "DISCONNECTED" && client.error) callback?.("CHANNEL_ERROR", client.error);
  }, 0);
  return () => {
    clearTimeout(timer);
    ready.clear();
    for (const stop of stops) stop();
    callback?.("CLOSED");
  };
}
