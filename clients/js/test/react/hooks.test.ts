// @vitest-environment jsdom
import { act, renderHook, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";

import {
  useRealTimeAvailability,
  useRealTimeBookings,
  useRealTimeNotifications,
  useRealTimePayments,
  useRealTimeProperties,
  useRealTimePropertyAlerts,
  useRealTimeServices,
} from "../../src/react/index.js";
import type { Notification, PropertyAlert } from "../../src/react/index.js";
import "./dom.js";
import { ids, mains, setting, settle } from "./support.js";

const ROWS = {
  bookings: [{ id: 1 }],
  "provider-bookings": [{ id: 2 }],
  payments: [{ id: 3 }],
  availability: [{ id: 4 }],
  notifications: [{ id: 5 }, { id: 6 }],
  services: [{ id: 7 }],
  properties: [{ id: "a", price: 10 }],
  "property-alerts": [{ id: 8 }, { id: 9 }],
};

describe("the hooks", () => {
  it("have each the rows of their stream, over one connection", async () => {
    const { gateway, strict } = setting({ rows: ROWS });
    const { result } = renderHook(
      () => ({
        customer: useRealTimeBookings(1),
        provider: useRealTimeBookings(1, { role: "provider" }),
        payments: useRealTimePayments(1),
        availability: useRealTimeAvailability("1"),
        notifications: useRealTimeNotifications(1),
        services: useRealTimeServices(),
        properties: useRealTimeProperties(),
        alerts: useRealTimePropertyAlerts(1),
      }),
      { wrapper: strict },
    );
    await waitFor(() => expect(Object.values(result.current).every(({ loading }) => !loading)).toBe(true));
    const { customer, provider, payments, availability, notifications, services, properties, alerts } = result.current;
    expect([customer.bookings, provider.bookings, payments.payments, availability.availability].map(ids)).toEqual([[1], [2], [3], [4]]);
    expect([services.services, properties.properties].map(ids)).toEqual([[7], ["a"]]);
    expect([notifications.notifications, alerts.alerts].map(ids)).toEqual([
      [6, 5],
      [9, 8],
    ]);
    expect(mains(gateway)).toHaveLength(1);
    expect(customer).not.toHaveProperty("rows");
    expect(Object.keys(customer).sort()).toEqual(["bookings", "error", "lastEventId", "loading", "reconnect", "status"]);
  });

  it("may say how rows are ordered", async () => {
    const { wrapper } = setting({ rows: ROWS });
    const { result } = renderHook(() => useRealTimeNotifications(1, { compare: (a, b) => a.id - b.id }), { wrapper });
    await waitFor(() => expect(ids(result.current.notifications)).toEqual([5, 6]));
  });

  it("ask for the listings of a city", async () => {
    const { gateway, wrapper } = setting({ rows: ROWS });
    renderHook(() => useRealTimeProperties({ filter: { city: "Round Rock" } }), { wrapper });
    await settle();
    expect(gateway.main.filter("properties")).toEqual(["city=eq.Round Rock"]);
  });
});

describe("callbacks", () => {
  it("are told of each new notification, and not of those that were there or change", async () => {
    const { gateway, wrapper } = setting({ rows: ROWS });
    const [told, changed]: [unknown[], unknown[]] = [[], []];
    const { result, rerender } = renderHook(
      ({ turn }) =>
        useRealTimeNotifications(1, {
          onNotification: ({ id }: Notification) => told.push([turn, id]),
          onChange: ({ change }) => changed.push(change.type),
        }),
      { wrapper, initialProps: { turn: 1 } },
    );
    await waitFor(() => expect(result.current.notifications).toHaveLength(2));
    act(() => void gateway.insert("notifications", { id: 10 }));
    rerender({ turn: 2 });
    act(() => void gateway.update("notifications", { id: 10, read: true }));
    act(() => void gateway.insert("notifications", { id: 11 }));
    act(() => void gateway.remove("notifications", { id: 10 }));
    expect(told).toEqual([
      [1, 10],
      [2, 11],
    ]);
    expect(changed).toEqual(["INSERT", "UPDATE", "INSERT", "DELETE"]);
    expect(ids(result.current.notifications)).toEqual([11, 6, 5]);
  });

  it("are told of each alert once, also in StrictMode and after a reconnect", async () => {
    const { gateway, strict } = setting({ rows: ROWS }, { backoff: { initialMs: 1, maxMs: 1 } });
    const alerted: unknown[] = [];
    const { result } = renderHook(() => useRealTimePropertyAlerts(1, ({ id }: PropertyAlert) => alerted.push(id)), { wrapper: strict });
    await waitFor(() => expect(result.current.alerts).toHaveLength(2));
    act(() => void gateway.insert("property-alerts", { id: 20 }));
    act(() => void gateway.main.cut());
    gateway.insert("property-alerts", { id: 21 });
    await waitFor(() => expect(ids(result.current.alerts)).toEqual([21, 20, 9, 8]));
    expect(alerted).toEqual([20, 21]);
  });

  it("are not told of anything for nobody, nor after the component has gone", async () => {
    const { gateway, wrapper } = setting({ rows: ROWS });
    const alert = vi.fn();
    const { unmount, rerender, result } = renderHook(({ userId }) => useRealTimePropertyAlerts(userId, alert), {
      wrapper,
      initialProps: { userId: null as number | null },
    });
    await settle();
    expect(gateway.requests).toEqual([]);
    rerender({ userId: 1 });
    await waitFor(() => expect(result.current.alerts).toHaveLength(2));
    unmount();
    gateway.insert("property-alerts", { id: 30 });
    expect(alert).not.toHaveBeenCalled();
  });
});
