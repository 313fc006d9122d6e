/** How long to wait before the next attempt. */

import type { BackoffOptions } from "./types.js";

/** A timer of more than 24 days fires at once. */
export const LONGEST_MS = 86_400_000;
/** The gateway's own pause is no shorter. */
export const SHORTEST_MS = 500;
/** A connection that has held for so long is there: the next pause is the first again. */
export const STEADY_MS = 5000;

/** Returns the pause before an attempt, the first of which is 0: twice as long each time, spread by chance, and no shorter than the gateway says. */
export function pauseMs(attempt: number, atLeastMs = 0, { initialMs = 1000, maxMs = 30_000, jitter = 0.5 }: Partial<BackoffOptions> = {}): number {
  const whole = Math.min(maxMs, initialMs * 2 ** attempt);
  return Math.min(LONGEST_MS, Math.max(atLeastMs, whole * (1 - jitter * Math.random())));
}
