/** The last id, kept in `localStorage`. Where that is forbidden, full or wrong, nothing is kept, and nothing else happens. */

import { placed } from "./id.js";

/** Returns what keeps an id for the next page, and without one returns that which an earlier page has kept. */
export function createKept(name: string): (id?: string | null) => string | null {
  const key = `rowcast:${name}`;
  return (id) => {
    try {
      if (id === undefined) return placed(localStorage.getItem(key)) ?? null;
      if (id) localStorage.setItem(key, id);
    } catch {
      // Private windows, blocked storage, a server.
    }
    return null;
  };
}
