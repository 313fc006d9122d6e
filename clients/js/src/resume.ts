/** The last id, kept in `localStorage`. Where that is forbidden, full or wrong, nothing is kept, and nothing else happens. */

import { placed } from "./id.js";

/** Keeps an id for the next page, or returns the one that an earlier page has kept. */
export function keptId(name: string | undefined, id?: string | null): string | null {
  try {
    const key = `rowcast:${name}`;
    if (name === undefined) return null;
    if (id === undefined) return placed(localStorage.getItem(key)) ?? null;
    if (id) localStorage.setItem(key, id);
  } catch {
    // Private windows, blocked storage, a server.
  }
  return null;
}
