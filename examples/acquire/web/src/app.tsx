/** The page: what to look for, the listings, and beside them alerts, searches and what happens. */

import { useEffect, useState } from "react";
import { useRealTimePropertyAlerts } from "rowcast/react";

import type { TokenSource } from "../../../web-shared/access";
import { Activity, useActivity } from "../../../web-shared/activity";
import { ConnectionNotice } from "../../../web-shared/connection";
import { Header } from "../../../web-shared/header";
import { useToast } from "../../../web-shared/toast";
import { AddListing } from "./add";
import { Alerts } from "./alerts";
import { ANY, conditions, fromAddress, toAddress } from "./filter";
import { FilterForm } from "./form";
import { Listings } from "./listings";
import { Searches } from "./searches";
import { alerted } from "./words";

const TYPING_MS = 300;

export interface Visitor {
  readonly id: string;
  /** The gateway's address. */
  readonly rowcast: string;
  readonly places: readonly { readonly city: string; readonly state: string }[];
}

export function App({ visitor, tokens }: { visitor: Visitor; tokens: TokenSource }) {
  const toast = useToast();
  const [entries, add] = useActivity();
  const [filter, setFilter] = useState(fromAddress);
  const settled = useSettled(filter);
  useEffect(() => toAddress(settled), [settled]);

  const { alerts } = useRealTimePropertyAlerts(
    visitor.id,
    (alert) => toast({ title: `${alert.name}, ${alert.city}`, body: alerted(alert) }),
    { onChange: (event) => event.change.record !== null && add(event.id, `Alert: ${event.change.record.name} ${alerted(event.change.record)}`) },
  );

  return (
    <>
      <Header name="Acquire" icon="/static/acquire.svg" tokens={tokens} />
      <ConnectionNotice tokens={tokens} />
      <div className="columns">
        <main>
          <h1>Listings</h1>
          <FilterForm filter={filter} places={visitor.places} onChange={setFilter} />
          <Listings filter={conditions(settled)} onEvent={add} onClear={() => setFilter(ANY)} />
          <AddListing />
        </main>
        <aside>
          <Searches filter={filter} />
          <Alerts alerts={alerts} />
          <Activity entries={entries} />
        </aside>
      </div>
    </>
  );
}

/** Returns the value of a moment ago: nobody wants a connection for each digit. */
function useSettled<T>(value: T): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), TYPING_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
