/** For the admin: whatever changes in any published table, as it happens. */

import { useEffect } from "react";
import { useRealtimeClient } from "rowcast/react";

import { Activity, useActivity } from "../../../web-shared/activity";
import { told } from "./words";

export function Changes() {
  const client = useRealtimeClient();
  const [entries, add] = useActivity();
  useEffect(() => client.listen("changes", { onEvent: (event) => add(event.id, told(event)) }), [client, add]);
  return (
    <main>
      <h1>Whatever changes</h1>
      <p>
        Bookings are changed in the <a href="/admin/">admin site</a>, and each change is listed here, whoever has made it.
      </p>
      <Activity entries={entries} />
    </main>
  );
}
