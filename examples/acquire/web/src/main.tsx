/** The page of whoever comes: a visitor is a cookie. */

import { createRealtimeClient } from "rowcast";
import { RealtimeProvider } from "rowcast/react";

import { tokenSource } from "../../../web-shared/access";
import { boot } from "../../../web-shared/boot";
import { ask } from "../../../web-shared/site";
import { ToastProvider } from "../../../web-shared/toast";
import { App } from "./app";
import type { Visitor } from "./app";

boot(load, ({ visitor, tokens, client }) => (
  <RealtimeProvider client={client}>
    <ToastProvider>
      <App visitor={visitor} tokens={tokens} />
    </ToastProvider>
  </RealtimeProvider>
));

async function load() {
  const visitor = await ask<Visitor>("GET", "/api/visitor");
  const tokens = tokenSource(visitor.id);
  return { visitor, tokens, client: createRealtimeClient({ url: visitor.rowcast, getToken: tokens.getToken, tabs: visitor.id }) };
}
