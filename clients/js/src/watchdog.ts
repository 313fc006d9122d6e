/** Notices that nothing comes any more. */

export const SILENT_MS = 30_000;
/** Where heartbeats cannot be seen; checkpoints come every two minutes. */
export const UNSEEN_MS = 300_000;

export interface Watchdog {
  /** Something has come; from now on it may be silent for so long. 0 is for ever. */
  alive(limitMs?: number): void;
  /** Looks now: timers sleep when the machine or the page does. */
  look(): void;
  stop(): void;
}

/** Calls back once when nothing has come for too long. One timer runs, however much comes. */
export function watchdog(limitMs: number, silent: () => void): Watchdog {
  let aliveAt = Date.now();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = (): void => {
    clearTimeout(timer);
    const leftMs = aliveAt + limitMs - Date.now();
    if (!limitMs) return;
    if (leftMs > 0) timer = setTimeout(look, leftMs);
    else silent();
  };
  look();
  return {
    alive(newLimitMs) {
      aliveAt = Date.now();
      if (newLimitMs === undefined) return;
      limitMs = newLimitMs;
      look();
    },
    look,
    stop: () => clearTimeout(timer),
  };
}
