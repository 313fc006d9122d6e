// @vitest-environment jsdom
import { act, renderHook, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";

import { useRealTimeBookings, useRealTimePayments, useRealTimeTable } from "../../src/react/index.js";
import type { UserId } from "../../src/react/index.js";
import "./dom.js";
import { booking, ids, mains, setting, settle, snapshots } from "./support.js";

/** A gateway whose rows are those of the token's user. */
async function serve(gateway: ReturnType<typeof setting>["gateway"]): Promise<void> {
  await settle();
  for (let turn = 0; turn < 6; turn += 1) {
    for (const request of gateway.active) {
      if (request.state !== "waiting") continue;
      if (request.snapshot) request.rows([booking(Number(request.token) * 10, "pending", Number(request.token))]);
      else request.ready();
    }
    await settle();
  }
}

describe("a user's rows", () => {
  it.each([[null], [undefined], [""]])("are none, and nothing is opened, for %j", async (userId) => {
    const { gateway, wrapper } = setting({ rows: { bookings: [booking(1)] } });
    const { result } = renderHook(() => useRealTimeBookings(userId), { wrapper });
    await settle();
    expect(result.current).toMatchObject({ bookings: [], loading: false, error: null, status: "DISCONNECTED" });
    expect(gateway.requests).toEqual([]);
  });

  it("are opened as soon as there is a user", async () => {
    const { wrapper } = setting({ rows: { bookings: [booking(1)] } });
    const { result, rerender } = renderHook(({ userId }) => useRealTimeBookings(userId), { wrapper, initialProps: { userId: null as UserId } });
    rerender({ userId: 0 });
    expect(result.current.loading).toBe(true);
    await waitFor(() => expect(ids(result.current.bookings)).toEqual([1]));
  });

  it("are gone in the render with another user, who gets their own by a new connection with a new token", async () => {
    let user = 1;
    const { gateway, wrapper } = setting({}, { getToken: () => String(user) });
    const shown: unknown[] = [];
    const { result, rerender } = renderHook(
      ({ userId }) => {
        const { bookings, loading } = useRealTimeBookings(userId);
        const { payments } = useRealTimePayments(userId);
        shown.push([userId, ids(bookings), ids(payments)]);
        return { bookings, loading };
      },
      { wrapper, initialProps: { userId: 1 } },
    );
    await act(() => serve(gateway));
    expect(ids(result.current.bookings)).toEqual([10]);
    const former = gateway.main;

    user = 2;
    rerender({ userId: 2 });
    expect(result.current).toEqual({ bookings: [], loading: true });
    expect(former.state).toBe("closed");
    await act(() => serve(gateway));
    expect(ids(result.current.bookings)).toEqual([20]);
    expect(gateway.main.token).toBe("2");
    expect(mains(gateway)).toHaveLength(2);
    expect(shown.filter(([userId]: any) => userId === 2).flat(2)).not.toContain(10);
    expect(snapshots(gateway).map(({ token }) => token)).toEqual(["1", "1", "2", "2"]);
  });

  it("are those of a new connection also on a stream that the former user had not, and again for the former one", async () => {
    let user = 1;
    const { gateway, client, wrapper } = setting({}, { getToken: () => String(user) });
    // What keeps the connection as it is, whichever hook there is.
    for (const stream of ["bookings", "payments"]) client.listen(stream, { onEvent: () => undefined });
    const { result, rerender } = renderHook(
      ({ customer, payer }) => [useRealTimeBookings(customer).bookings, useRealTimePayments(payer).payments] as const,
      { wrapper, initialProps: { customer: 1 as UserId, payer: null as UserId } },
    );
    await act(() => serve(gateway));
    user = 2;
    rerender({ customer: null, payer: 2 });
    await act(() => serve(gateway));
    expect(gateway.main.token).toBe("2");
    expect(result.current.map(ids)).toEqual([[], [20]]);
    // The same user on one more stream is nobody new.
    rerender({ customer: 2, payer: 2 });
    await act(() => serve(gateway));
    expect(mains(gateway).map(({ token }) => token)).toEqual(["1", "2"]);
    rerender({ customer: null, payer: 2 });
    rerender({ customer: null, payer: null });
    user = 1;
    rerender({ customer: 1, payer: null });
    await act(() => serve(gateway));
    expect(gateway.main.token).toBe("1");
  });

  it("of two scopes that are there together need one connection, also when they leave and come back", async () => {
    const { gateway, wrapper, strict } = setting({}, { getToken: () => "1" });
    for (const around of [wrapper, strict]) {
      const { rerender, unmount } = renderHook(({ there }) => [useRealTimeBookings(there ? 1 : null), useRealTimePayments(there ? "one" : null)], {
        wrapper: around,
        initialProps: { there: true },
      });
      await act(() => serve(gateway));
      rerender({ there: false });
      rerender({ there: true });
      await act(() => serve(gateway));
      expect(mains(gateway)).toHaveLength(1);
      unmount();
    }
  });

  it("would stay where nobody says whose they are", async () => {
    const { gateway, wrapper } = setting({}, { getToken: () => "1" });
    const { result, rerender } = renderHook(({ scope }) => useRealTimeTable("bookings", { scope }), {
      wrapper,
      initialProps: { scope: undefined as string | undefined },
    });
    await act(() => serve(gateway));
    rerender({ scope: undefined });
    expect(ids(result.current.rows)).toEqual([10]);
    rerender({ scope: "2" });
    expect(result.current.rows).toEqual([]);
  });

  it("do not come back to the former user without a snapshot of their own", async () => {
    let user = 1;
    const { gateway, wrapper } = setting({}, { getToken: () => String(user) });
    const { result, rerender } = renderHook(({ userId }) => useRealTimeBookings(userId), { wrapper, initialProps: { userId: 1 as UserId } });
    await act(() => serve(gateway));
    rerender({ userId: null });
    expect(result.current.bookings).toEqual([]);
    user = 2;
    rerender({ userId: 2 });
    expect(result.current.bookings).toEqual([]);
    await act(() => serve(gateway));
    expect(ids(result.current.bookings)).toEqual([20]);
    expect(gateway.main.token).toBe("2");
  });

  it("are those that a server has rendered for the first user, and not for the next", async () => {
    const { gateway, wrapper } = setting({}, { getToken: () => "1" });
    const initial = [{ ...booking(5) } as never];
    const { result, rerender } = renderHook(({ userId }) => useRealTimeBookings(userId, { initial }), { wrapper, initialProps: { userId: 1 } });
    expect(result.current).toMatchObject({ bookings: initial, loading: false });
    rerender({ userId: 2 });
    expect(result.current).toMatchObject({ bookings: [], loading: true });
    await act(() => serve(gateway));
  });

  it("are fetched for the user whose they are, also while the former user's store lingers", async () => {
    vi.useFakeTimers();
    try {
      const { gateway, wrapper } = setting({ rows: {} });
      const asked: number[] = [];
      const { rerender, result } = renderHook(
        ({ userId }) =>
          useRealTimeBookings(userId, {
            fetchSnapshot: () => {
              asked.push(userId);
              return Promise.resolve([booking(userId * 10) as never]);
            },
          }),
        { wrapper, initialProps: { userId: 1 } },
      );
      await act(() => vi.advanceTimersByTimeAsync(10));
      rerender({ userId: 2 });
      await act(() => vi.advanceTimersByTimeAsync(10));
      expect(ids(result.current.bookings)).toEqual([20]);
      asked.length = 0;
      act(() => void gateway.main.reset());
      await act(() => vi.advanceTimersByTimeAsync(10));
      rerender({ userId: 1 });
      await act(() => vi.advanceTimersByTimeAsync(10));
      expect(ids(result.current.bookings)).toEqual([10]);
    } finally {
      vi.useRealTimers();
    }
  });
});
