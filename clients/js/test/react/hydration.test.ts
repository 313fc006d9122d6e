// @vitest-environment jsdom
import { act, screen, waitFor } from "@testing-library/react";
import { createElement, StrictMode } from "react";
import { hydrateRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { describe, expect, it, onTestFinished, vi } from "vitest";

import { useConnectionStatus, useRealTimeBookings } from "../../src/react/index.js";
import "./dom.js";
import { booking, ids, mains, setting } from "./support.js";

const INITIAL = [booking(1) as never];

function Page() {
  const { bookings, loading } = useRealTimeBookings(1, { initial: INITIAL });
  return createElement("p", null, `${JSON.stringify(ids(bookings))} ${loading} ${useConnectionStatus()}`);
}

describe("hydration", () => {
  it("finds what the server has rendered, without a warning, and goes on from there", async () => {
    const complaints = vi.spyOn(console, "error");
    const server = setting();
    const browser = setting({ rows: { bookings: [booking(1), booking(2)] } });
    const page = (wrapper: typeof server.wrapper) => createElement(StrictMode, null, createElement(wrapper, null, createElement(Page)));

    const container = document.body.appendChild(document.createElement("div"));
    container.innerHTML = renderToString(page(server.wrapper));
    expect(container.textContent).toBe("[1] false CONNECTING");
    const recovered = vi.fn();
    act(() => {
      const root = hydrateRoot(container, page(browser.wrapper), { onRecoverableError: recovered });
      onTestFinished(() => {
        act(() => root.unmount());
        container.remove();
      });
    });

    await waitFor(() => screen.getByText("[1,2] false CONNECTED"));
    expect(recovered).not.toHaveBeenCalled();
    expect(complaints).not.toHaveBeenCalled();
    expect(mains(browser.gateway)).toHaveLength(1);
  });

  it("would complain where the server had rendered something else", () => {
    const container = document.createElement("div");
    const { wrapper } = setting();
    container.innerHTML = "<p>[7] false CONNECTING</p>";
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const recovered = vi.fn();
    act(() => {
      const root = hydrateRoot(container, createElement(wrapper, null, createElement(Page)), { onRecoverableError: recovered });
      onTestFinished(() => act(() => root.unmount()));
    });
    expect(recovered).toHaveBeenCalled();
  });
});
