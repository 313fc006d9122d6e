/** What the visitor is alerted about: whatever was saved of a filter. */

import { useCallback, useEffect, useState } from "react";

import { useSend } from "../../../web-shared/send";
import { ask } from "../../../web-shared/site";
import { toSearch } from "./filter";
import type { Filter, Search } from "./filter";
import { searched } from "./words";

type Saved = Search & { readonly id: number };

export function Searches({ filter }: { filter: Filter }) {
  const [send, busy] = useSend();
  const [saved, setSaved] = useState<readonly Saved[]>([]);
  const search = toSearch(filter);
  const known = saved.some((each) => searched(each) === searched(search));

  // Searches are the visitor's own affair, which no stream has: they are asked for.
  const read = useCallback(() => ask<readonly Saved[]>("GET", "/api/searches").then(setSaved, () => undefined), []);
  useEffect(() => void read(), [read]);
  const write = async (...request: Parameters<typeof send>) => (await send(...request)) && read();

  return (
    <section className="panel" aria-labelledby="searches">
      <h2 id="searches">Saved searches</h2>
      {saved.length === 0 && <p className="muted">Save what you look for, and you are alerted when a match comes, or changes its price or status.</p>}
      <ul className="feed">
        {saved.map((each) => (
          <li key={each.id} className="between">
            {searched(each)}
            <button type="button" className="quiet" disabled={busy} aria-label={`Forget ${searched(each)}`} onClick={() => void write("DELETE", `/api/searches/${each.id}`)}>
              ×
            </button>
          </li>
        ))}
      </ul>
      <button type="button" className="primary" disabled={busy || known} onClick={() => void write("POST", "/api/searches", search)}>
        {known ? "Saved" : "Alert me"}: {searched(search)}
      </button>
    </section>
  );
}
