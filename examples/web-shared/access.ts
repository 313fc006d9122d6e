/** The token for the stream, from the site, and what the page shows of it: until when it is good, and how often it was renewed. */

import { ask, SiteError } from "./site";

export interface Access {
  /** Null while this tab has asked for none: another tab holds the connection for it. */
  readonly until: Date | null;
  readonly renewals: number;
}

export interface TokenSource {
  /** What the client is given. Null where nobody is signed in any more: then it does not come back by itself. */
  getToken(why: { renew: boolean }): Promise<string | null>;
  read(): Access;
  subscribe(changed: () => void): () => void;
}

/** Returns where tokens come from. */
export function tokenSource(): TokenSource {
  let access: Access = { until: null, renewals: 0 };
  const listeners = new Set<() => void>();
  return {
    async getToken({ renew }) {
      try {
        const { token, expires_in } = await ask<{ token: string; expires_in: number }>("POST", "/api/token");
        access = { until: new Date(Date.now() + expires_in * 1000), renewals: access.renewals + (renew ? 1 : 0) };
        for (const changed of listeners) changed();
        return token;
      } catch (error) {
        if (error instanceof SiteError && error.status === 401) return null;
        throw error;
      }
    },
    read: () => access,
    subscribe(changed) {
      listeners.add(changed);
      return () => listeners.delete(changed);
    },
  };
}
