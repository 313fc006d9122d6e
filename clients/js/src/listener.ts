/**
 * Who listens to which stream through which filter, and who is told what.
 *
 * - A listener has its stream when the connection carries it through the same filter, or through none and there is what judges here.
 * - Who had its stream and lacks it while others have theirs has missed something, and is told so when it comes back; so is who lacks it
 *   at a reset. Sooner rows could not be got anew: what happens before the connection is there would be in neither.
 * - What one of them throws is no other's matter.
 */

import { fault } from "./error.js";
import type { Names } from "./name.js";
import { united } from "./signal.js";
import type { Wants } from "./signal.js";
import type { ComponentState, ListenOptions, RealtimeError, RealtimeEvent } from "./types.js";

type Judge = (event: RealtimeEvent) => RealtimeEvent | null;

interface Listener extends ListenOptions {
  readonly stream: string;
  readonly filter: string;
  judge?: Judge | undefined;
  /** Whether it knows that it has its stream, has ever had it, and has lost it since. */
  greeted?: unknown;
  known?: boolean;
  lost?: boolean | null | undefined;
}

export interface Listeners {
  readonly size: number;
  /** What judges by a filter, once it is loaded. */
  judge: ((filter: string, names: Names, report: (error: RealtimeError) => void) => Judge) | undefined;
  /** Adds one. Returns how to take it away. */
  add(stream: string, options: ListenOptions): () => void;
  wants(): Wants;
  /** Whether one of them wants less than the connection would carry. */
  mixed(wants: Wants): boolean;
  /** Tells those whose stream the connection has, and do not know it. */
  greet(has: Wants | null): void;
  reset(reason: string, streams: readonly string[] | null): void;
  tell(event: RealtimeEvent, has: Wants | null): void;
  component(stream: string, state: ComponentState): void;
}

export function createListeners(names: Names, report: (error: RealtimeError) => void): Listeners {
  const all = new Set<Listener>();

  const carries = (has: Wants | null, { stream, filter }: Listener): unknown => has?.[stream] === filter || (has?.[stream] === "" && listeners.judge);
  /** Calls all back, but not one that another has just taken away. */
  const each = (callback: (listener: Listener) => void): void => {
    for (const listener of [...all]) if (all.has(listener)) guarded(() => callback(listener), report);
  };

  const listeners: Listeners = {
    judge: undefined,
    get size() {
      return all.size;
    },
    add(stream, { filter = "", ...options }) {
      const listener: Listener = { ...options, stream, filter };
      all.add(listener);
      return () => all.delete(listener);
    },
    wants: () => united([...all].map(({ stream, filter }) => ({ [stream]: filter }))),
    mixed: (wants) => [...all].some(({ stream, filter }) => wants[stream] !== filter),
    greet(has) {
      each((listener) => {
        const { greeted, lost } = listener;
        listener.greeted = carries(has, listener);
        if (!listener.greeted) listener.lost ||= has && listener.known;
        else if (!greeted) {
          listener.known = true;
          listener.lost = false;
          if (lost) listener.onReset?.("gap");
          listener.onReady?.();
        }
      });
    },
    reset(reason, streams) {
      each((listener) => {
        if (streams && !streams.includes(listener.stream)) return;
        if (listener.greeted) listener.onReset?.(reason);
        else listener.lost = true;
      });
    },
    tell(event, has) {
      each((listener) => {
        const { stream, filter } = listener;
        if (stream !== event.stream || !carries(has, listener)) return;
        if (has?.[stream] === filter) return listener.onEvent(event);
        const seen = (listener.judge ??= listeners.judge?.(filter, names, report))?.(event);
        if (seen) listener.onEvent(seen);
      });
    },
    component(stream, state) {
      each((listener) => listener.stream === stream && listener.onComponent?.(state));
    },
  };
  return listeners;
}

/** Calls an application's function; what it throws is reported. */
export function guarded(callback: () => void, report: (error: RealtimeError) => void): void {
  try {
    callback();
  } catch (cause) {
    report(fault("listener", `listener: ${String(cause)}`, { cause }));
  }
}
