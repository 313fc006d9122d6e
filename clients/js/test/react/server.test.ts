// @vitest-environment node
import { readFileSync } from "node:fs";

import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { describe, expect, it, vi } from "vitest";

import { useConnection, useRealTimeBookings, useRealTimePropertyAlerts } from "../../src/react/index.js";
import { booking, ids, setting, settle } from "./support.js";

function Page({ initial }: { initial?: readonly never[] }) {
  const { bookings, loading, status } = useRealTimeBookings(1, { initial });
  const { alerts } = useRealTimePropertyAlerts(1, () => undefined);
  const connection = useConnection();
  return createElement("p", null, JSON.stringify([ids(bookings), loading, status, alerts.length, connection.status, connection.error]));
}

describe("on a server", () => {
  it.each(["index", "table", "marketplace", "property", "provider", "connection"])("react/%s is known to be for clients", (name) => {
    const source = readFileSync(new URL(`../../src/react/${name}.ts`, import.meta.url), "utf8");
    expect(source.split("\n")[0]).toBe('"use client";');
  });

  it("rows are the component's own, and nothing is opened", async () => {
    const { gateway, wrapper } = setting({ rows: { bookings: [booking(9)] } });
    const html = (initial?: readonly never[]) =>
      renderToString(wrapper({ children: createElement(Page, initial ? { initial } : {}) }) as never).replaceAll("&quot;", '"');
    expect(html([booking(1) as never])).toBe('<p>[[1],false,"CONNECTING",0,"CONNECTING",null]</p>');
    expect(html()).toBe('<p>[[],true,"CONNECTING",0,"CONNECTING",null]</p>');
    await settle();
    expect(gateway.requests).toEqual([]);
  });

  it("nothing of one request stays in a client that all requests share", () => {
    const { client, wrapper } = setting();
    const spies = [vi.spyOn(client, "table"), vi.spyOn(client, "listen"), vi.spyOn(client, "onStatus")];
    renderToString(wrapper({ children: createElement(Page, { initial: [booking(1) as never] }) }) as never);
    for (const spy of spies) expect(spy).not.toHaveBeenCalled();
  });
});
