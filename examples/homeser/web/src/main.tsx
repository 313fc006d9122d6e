/** The page of whoever is signed in. */

import { createRealtimeClient } from "rowcast";
import { RealtimeProvider } from "rowcast/react";
import type { Booking, Notification, Payment, Service } from "rowcast/react";

import { tokenSource } from "../../../web-shared/access";
import { boot } from "../../../web-shared/boot";
import { ask } from "../../../web-shared/site";
import { ToastProvider } from "../../../web-shared/toast";
import { App } from "./app";
import { rowsOf } from "./rows";
import type { Me } from "./words";

boot(load, ({ me, initial, tokens, client }) => (
  <RealtimeProvider client={client}>
    <ToastProvider>
      <App me={me} initial={initial} tokens={tokens} />
    </ToastProvider>
  </RealtimeProvider>
));

/** The rows are the site's own first, so that they are there also while nothing is live. */
async function load() {
  const me = await ask<Me>("GET", "/api/me");
  const tokens = tokenSource(me.id);
  const [bookings, payments, services, notifications] = await Promise.all([
    rowsOf<Booking>(tokens, "bookings"),
    rowsOf<Payment>(tokens, "payments"),
    rowsOf<Service>(tokens, "services"),
    rowsOf<Notification>(tokens, "notifications"),
  ]);
  const client = createRealtimeClient({ url: me.rowcast, getToken: tokens.getToken, tabs: me.id });
  return { me, initial: { bookings, payments, services, notifications }, tokens, client };
}
