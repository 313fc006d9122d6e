/** Lights up what has just changed. Two animations take turns, so that each change starts one anew without a new element. */

import { useCallback, useState } from "react";

/** Returns the class for an item, and how to say that it has changed. */
export function useFlash(): readonly [(id: string | number) => string, (id: string | number) => void] {
  const [times, setTimes] = useState<ReadonlyMap<string | number, number>>(new Map());
  const touch = useCallback((id: string | number) => setTimes((now) => new Map(now).set(id, (now.get(id) ?? 0) + 1)), []);
  const classOf = (id: string | number): string => {
    const count = times.get(id);
    return count === undefined ? "" : count % 2 === 1 ? "flash-odd" : "flash-even";
  };
  return [classOf, touch];
}
