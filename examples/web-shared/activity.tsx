/** What has arrived since the page was opened, the newest first: each event once, with its id. */

import { useCallback, useRef, useState } from "react";

import { clock } from "./format";

const KEPT = 100;

export interface Entry {
  readonly number: number;
  readonly id: string;
  readonly at: Date;
  readonly what: string;
}

/** Returns the entries, and how to add one. */
export function useActivity(): readonly [readonly Entry[], (id: string, what: string) => void] {
  const [entries, setEntries] = useState<readonly Entry[]>([]);
  const count = useRef(0);
  const add = useCallback((id: string, what: string) => {
    const entry = { number: (count.current += 1), id, at: new Date(), what };
    setEntries((now) => [entry, ...now].slice(0, KEPT));
  }, []);
  return [entries, add];
}

export function Activity({ entries }: { entries: readonly Entry[] }) {
  return (
    <section className="panel" aria-labelledby="activity">
      <h2 id="activity">Activity</h2>
      {entries.length === 0 ? (
        <p className="muted">What happens from now on is listed here.</p>
      ) : (
        <ol className="activity" tabIndex={0} aria-labelledby="activity">
          {entries.map((entry) => (
            <li key={entry.number} data-event={entry.id} title={entry.id}>
              <time dateTime={entry.at.toISOString()}>{clock(entry.at)}</time> {entry.what}
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}
