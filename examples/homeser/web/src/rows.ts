/** The rows of now, from the site's own API: what is live goes on from there. */

import { useEffect, useState } from "react";

import type { Owned, TokenSource } from "../../../web-shared/access";
import { MISSING } from "../../../web-shared/format";
import { ask } from "../../../web-shared/site";

/** Returns the rows of a table that concern the user. Throws SiteError, also where somebody else is signed in by now. */
export async function rowsOf<T>(tokens: TokenSource, table: string): Promise<readonly T[]> {
  const answer = await ask<Owned & Readonly<Record<string, unknown>>>("GET", `/api/${table}`);
  return (tokens.own(answer)[table] ?? []) as readonly T[];
}

/** Returns what people are called, and asks again when somebody is new. */
export function useNames(tokens: TokenSource, ids: readonly (number | null | undefined)[]): (id: number | null | undefined) => string {
  const [names, setNames] = useState<ReadonlyMap<number, string>>(new Map());
  const unknown = ids.filter((id) => typeof id === "number" && !names.has(id)).join();
  useEffect(() => {
    if (unknown === "") return undefined;
    let here = true;
    void rowsOf<{ id: number; username: string }>(tokens, "people").then(
      (people) => here && setNames(new Map(people.map(({ id, username }) => [id, username]))),
      // Then they are called by their number.
      () => undefined,
    );
    return () => {
      here = false;
    };
  }, [tokens, unknown]);
  return (id) => (typeof id === "number" ? (names.get(id) ?? `user ${id}`) : MISSING);
}
