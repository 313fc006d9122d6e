/** What is worth knowing of a listing beside what it is: that it is new, what it cost before, that it has just gone. */

import { useCallback, useEffect, useRef, useState } from "react";
import type { RealtimeEvent } from "rowcast";
import type { Property } from "rowcast/react";

const GONE_STAYS_MS = 8000;

export interface Note {
  /** `gone` was removed; `left` is there still, but not for who looks for something else. */
  readonly kind: "new" | "changed" | "gone" | "left";
  /** What it cost before the last change of its price. */
  readonly was: number | null;
  /** The listing as it was, where it has gone: it stays a little, so that one sees it go. */
  readonly last: Property | null;
}

type Notes = ReadonlyMap<string, Note>;

/** Returns the notes since the filter was chosen, and what makes one of an event; `find` knows the listings that are shown. */
export function useNotes(filter: string, find: (id: string) => Property | undefined): readonly [Notes, (event: RealtimeEvent<Property>) => void] {
  const [notes, setNotes] = useState<Notes>(new Map());
  const timers = useRef(new Map<string, ReturnType<typeof setTimeout>>());

  useEffect(() => {
    const running = timers.current;
    return () => {
      for (const timer of running.values()) clearTimeout(timer);
      running.clear();
      setNotes(new Map());
    };
  }, [filter]);

  const note = useCallback(
    ({ change }: RealtimeEvent<Property>) => {
      const { record, old_record: old } = change;
      const id = record?.id ?? old?.id;
      if (id === undefined) return;
      clearTimeout(timers.current.get(id));
      timers.current.delete(id);
      if (record !== null) {
        // A row that was too large has no price, and the one that is shown stays.
        const priced = change.type === "UPDATE" && old?.price !== undefined && record.price !== undefined;
        const cost = priced && old.price !== record.price ? old.price : null;
        setNotes((now) => {
          const before = now.get(id);
          const isNew = change.type === "INSERT" || before?.kind === "new";
          return new Map(now).set(id, { kind: isNew ? "new" : "changed", was: cost ?? before?.was ?? null, last: null });
        });
        return;
      }
      const last = find(id) ?? null;
      const forget = (now: Notes): Notes => new Map([...now].filter(([each]) => each !== id));
      setNotes((now) => (last === null ? forget(now) : new Map(now).set(id, { kind: change.left === true ? "left" : "gone", was: null, last })));
      if (last !== null) timers.current.set(id, setTimeout(() => setNotes(forget), GONE_STAYS_MS));
    },
    [find],
  );
  return [notes, note];
}
