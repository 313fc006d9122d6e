/** The latest alerts: toasts go, these stay. */

import type { PropertyAlert } from "rowcast/react";

import { day, hour } from "../../../web-shared/format";
import { alerted } from "./words";

const SHOWN = 6;

export function Alerts({ alerts }: { alerts: readonly PropertyAlert[] }) {
  if (alerts.length === 0) return null;
  return (
    <section className="panel" aria-labelledby="alerts">
      <h2 id="alerts">Alerts</h2>
      <ul className="feed">
        {alerts.slice(0, SHOWN).map((alert) => (
          <li key={alert.id} data-alert={alert.id}>
            <strong>
              {alert.name}, {alert.city}
            </strong>
            <p>{alerted(alert)}</p>
            <time className="muted" dateTime={alert.created_at}>
              {day(alert.created_at)}, {hour(alert.created_at)}
            </time>
          </li>
        ))}
      </ul>
    </section>
  );
}
