/** The latest of what the user was told: toasts go, these stay. */

import type { Notification } from "rowcast/react";

import { day, hour } from "../../../web-shared/format";

const SHOWN = 6;

export function Notifications({ notifications }: { notifications: readonly Notification[] }) {
  return (
    <section className="panel" aria-labelledby="notifications">
      <h2 id="notifications">Notifications</h2>
      {notifications.length === 0 ? (
        <p className="muted">You are told here what others do with your bookings.</p>
      ) : (
        <ul className="feed">
          {notifications.slice(0, SHOWN).map((each) => (
            <li key={each.id} data-notification={each.id}>
              <strong>{each.title}</strong>
              <p>{each.body}</p>
              <time className="muted" dateTime={each.created_at}>
                {day(each.created_at)}, {hour(each.created_at)}
              </time>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
