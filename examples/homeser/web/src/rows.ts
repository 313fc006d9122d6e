/** The rows of now, from the site's own API: what is live goes on from there. */

import { useEffect, useState } from "react";

import { ask } from "../../../web-shared/site";

/** Returns the rows of a table that concern the user. */
export async function rowsOf<T>(table: string): Promise<readonly T[]> {
  return (await ask<Record<string, readonly T[]>>("GET", `/api/${table}`))[table] ?? [];
}

/** Returns what people are called, and asks again when somebody is new. */
export function useNames(ids: readonly (number | null)[]): (id: number | null) => string | undefined {
  const [names, setNames] = useState<ReadonlyMap<number, string>>(new Map());
  const unknown = ids.filter((id) => id !== null && !names.has(id)).join();
  useEffect(() => {
    if (unknown === "") return undefined;
    let here = true;
    void rowsOf<{ id: number; username: string }>("people").then(
      (people) => here && setNames(new Map(people.map(({ id, username }) => [id, username]))),
      // Then they are called by their number.
      () => undefined,
    );
    return () => {
      here = false;
    };
  }, [unknown]);
  return (id) => (id === null ? undefined : (names.get(id) ?? `user ${id}`));
}
