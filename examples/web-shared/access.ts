/**
 * The token for the stream, from the site, and what the page shows of it: until when it is good, and how often it was renewed.
 *
 * A page is one user's, and its site's answers are for whoever is signed in by now, in whichever tab. What is for another is not taken.
 */

import { ask, SiteError } from "./site";

/** What says whom it is for. */
export interface Owned {
  readonly id: string;
}

export interface Access {
  /** Null while this tab has asked for none: another tab holds the connection for it. */
  readonly until: Date | null;
  readonly renewals: number;
  /** Somebody else is signed in by now. */
  readonly stranger: boolean;
}

export interface TokenSource {
  /** What the client is given. Null where nobody is signed in any more, or somebody else: then it does not come back by itself. */
  getToken(why: { renew: boolean }): Promise<string | null>;
  /** Returns an answer of the site if it is for whom the page is. Throws SiteError. */
  own<T extends Owned>(answer: T): T;
  /** Finds out whether somebody else is signed in. */
  look(): Promise<void>;
  read(): Access;
  subscribe(changed: () => void): () => void;
}

/** Returns where the tokens of one user's page come from. */
export function tokenSource(id: string): TokenSource {
  let access: Access = { until: null, renewals: 0, stranger: false };
  const listeners = new Set<() => void>();
  const set = (next: Partial<Access>): void => {
    access = { ...access, ...next };
    for (const changed of listeners) changed();
  };

  const own = <T extends Owned>(answer: T): T => {
    if (typeof answer?.id !== "string") throw new SiteError(0, "the site does not say whom its answer is for");
    const stranger = answer.id !== id;
    if (stranger !== access.stranger) set({ stranger });
    if (stranger) throw new SiteError(401, "somebody else is signed in");
    return answer;
  };
  const answered = async () => own(await ask<Owned & { token: unknown; expires_in: unknown }>("POST", "/api/token"));

  return {
    async getToken({ renew }) {
      try {
        const { token, expires_in: seconds } = await answered();
        if (typeof token !== "string" || typeof seconds !== "number") throw new SiteError(0, "the site has given no token");
        set({ until: new Date(Date.now() + seconds * 1000), renewals: access.renewals + (renew ? 1 : 0) });
        return token;
      } catch (error) {
        if (error instanceof SiteError && error.status === 401) return null;
        throw error;
      }
    },
    own,
    // Whatever else is wrong is said by who asks for a token.
    look: () => answered().then(() => undefined, () => undefined),
    read: () => access,
    subscribe(changed) {
      listeners.add(changed);
      return () => listeners.delete(changed);
    },
  };
}
