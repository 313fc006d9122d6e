// @vitest-environment jsdom
import { act, renderHook, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";

import { useRealTimeTable } from "../../src/react/index.js";
import type { RealTimeOptions } from "../../src/react/index.js";
import type { Row } from "../../src/types.js";
import "./dom.js";
import { booking, ids, mains, setting, settle, snapshots } from "./support.js";

describe("useRealTimeTable", () => {
  it("has the rows of now, and then what happens to them", async () => {
    const { gateway, wrapper } = setting({ rows: { bookings: [booking(1), booking(2)] } });
    const { result } = renderHook(() => useRealTimeTable("bookings"), { wrapper });
    expect(result.current).toMatchObject({ rows: [], loading: true, error: null });

    await waitFor(() => expect(result.current.loading).toBe(false));
    expect(result.current.rows).toEqual([booking(1), booking(2)]);
    expect(result.current.status).toBe("CONNECTED");

    act(() => void gateway.update("bookings", booking(1, "confirmed")));
    act(() => void gateway.insert("bookings", booking(3)));
    act(() => void gateway.remove("bookings", booking(2)));
    expect(result.current.rows).toEqual([booking(1, "confirmed"), booking(3)]);
    expect(result.current.lastEventId).toBe(gateway.id);
  });

  it("shares one connection and one snapshot among hooks", async () => {
    const { gateway, wrapper } = setting({ rows: { bookings: [booking(1)], services: [{ id: 7 }] } });
    const { result } = renderHook(() => [useRealTimeTable("bookings"), useRealTimeTable("services"), useRealTimeTable("bookings")], { wrapper });
    await waitFor(() => expect(result.current.every(({ loading }) => !loading)).toBe(true));
    expect(mains(gateway)).toHaveLength(1);
    expect(mains(gateway)[0]?.streams).toEqual(["bookings", "services"]);
    expect(snapshots(gateway)).toHaveLength(2);
    expect(result.current[2]?.rows).toBe(result.current[0]?.rows);
  });

  it("opens one connection in StrictMode, where everything is mounted twice", async () => {
    const { gateway, strict } = setting({ rows: { bookings: [booking(1)] } });
    const { result } = renderHook(() => useRealTimeTable("bookings", { onChange: () => undefined }), { wrapper: strict });
    await waitFor(() => expect(result.current.rows).toHaveLength(1));
    await settle();
    expect(gateway.requests.map(({ snapshot, state }) => [snapshot, state])).toEqual([
      [false, "open"],
      [true, "closed"],
    ]);
  });

  it("does not subscribe anew for options that are written inline, and calls back the last render's function", async () => {
    const { gateway, client, wrapper } = setting({ rows: { bookings: [booking(1), booking(2)] } });
    const listen = vi.spyOn(client, "listen");
    const table = vi.spyOn(client, "table");
    const calls: unknown[] = [];
    const { result, rerender } = renderHook(
      ({ turn }) =>
        useRealTimeTable<Row>("bookings", {
          filter: { status: ["pending", "confirmed"] },
          key: ["id"],
          compare: (a, b) => Number(b["id"]) - Number(a["id"]),
          select: (rows) => rows.filter(Boolean),
          onChange: ({ change }) => calls.push([turn, change.record?.["id"]]),
          initial: [],
        }),
      { wrapper, initialProps: { turn: 0 } },
    );
    await waitFor(() => expect(ids(result.current.rows)).toEqual([2, 1]));
    const [requests, { rows }, looked, listened] = [gateway.requests.length, result.current, table.mock.calls.length, listen.mock.calls.length];
    for (let turn = 1; turn <= 10; turn += 1) rerender({ turn });
    await settle();
    expect(gateway.requests).toHaveLength(requests);
    expect(listen).toHaveBeenCalledTimes(listened);
    expect(table).toHaveBeenCalledTimes(looked);
    expect(result.current.rows).toBe(rows);

    act(() => void gateway.insert("bookings", booking(3)));
    expect(calls).toEqual([[10, 3]]);
    expect(ids(result.current.rows)).toEqual([3, 2, 1]);
  });

  it("drops the rows of the former filter at once, and opens the new one", async () => {
    const { gateway, wrapper } = setting();
    const shown: unknown[] = [];
    const { result, rerender } = renderHook(
      ({ status }) => {
        const table = useRealTimeTable("bookings", { filter: { status } });
        shown.push([status, ids(table.rows)]);
        return table;
      },
      { wrapper, initialProps: { status: "pending" } },
    );
    const first = await gateway.next();
    expect(first.filter("bookings")).toEqual(["status=eq.pending"]);
    act(() => void first.ready());
    await act(async () => void (await gateway.next()).rows([booking(1)]));
    expect(ids(result.current.rows)).toEqual([1]);

    rerender({ status: "confirmed" });
    expect(result.current).toMatchObject({ rows: [], loading: true });
    await waitFor(() => {
      act(() => gateway.active.forEach((request) => request.state === "waiting" && !request.snapshot && request.ready()));
      expect(gateway.snapshotOf("bookings").url.search).toContain("confirmed");
    });
    act(() => void gateway.snapshotOf("bookings").rows([booking(2, "confirmed")]));
    expect(ids(result.current.rows)).toEqual([2]);
    expect(shown).not.toContainEqual(["confirmed", [1]]);
  });

  it("opens nothing where it is not enabled, and where a list in the filter is empty", async () => {
    const { gateway, wrapper } = setting({ rows: { bookings: [booking(1)] } });
    const { result, rerender } = renderHook((options: RealTimeOptions) => useRealTimeTable("bookings", { ...options, onChange: () => undefined }), {
      wrapper,
      initialProps: { enabled: false } as RealTimeOptions,
    });
    expect(result.current).toMatchObject({ rows: [], loading: false, error: null, status: "DISCONNECTED", lastEventId: null });
    rerender({ filter: { status: [] } });
    expect(result.current).toMatchObject({ rows: [], loading: false, status: "DISCONNECTED" });
    await settle();
    expect(gateway.requests).toEqual([]);

    rerender({});
    await waitFor(() => expect(ids(result.current.rows)).toEqual([1]));
    rerender({ enabled: false });
    expect(result.current.rows).toEqual([]);
  });

  it("orders and chooses for itself, and leaves other components their order", async () => {
    const { wrapper } = setting({ rows: { bookings: [booking(1, "b"), booking(2, "a")] } });
    const { result } = renderHook(
      () => ({
        plain: useRealTimeTable("bookings"),
        ordered: useRealTimeTable("bookings", { compare: (a, b) => String(a["status"]).localeCompare(String(b["status"])) }),
        chosen: useRealTimeTable<Row, string>("bookings", { select: (rows) => rows.map((row) => String(row["status"])) }),
      }),
      { wrapper },
    );
    await waitFor(() => expect(ids(result.current.ordered.rows)).toEqual([2, 1]));
    expect(ids(result.current.plain.rows)).toEqual([1, 2]);
    expect(result.current.chosen.rows).toEqual(["b", "a"]);
  });

  it("fetches rows as it is told, with the last render's function", async () => {
    const { gateway, wrapper } = setting({ rows: {} });
    const { result, rerender } = renderHook(
      ({ answer }) => useRealTimeTable("bookings", { fetchSnapshot: () => Promise.resolve([booking(answer)]) }),
      { wrapper, initialProps: { answer: 1 } },
    );
    await waitFor(() => expect(ids(result.current.rows)).toEqual([1]));
    rerender({ answer: 2 });
    await settle();
    expect(ids(result.current.rows)).toEqual([1]);
    act(() => void gateway.main.reset());
    await waitFor(() => expect(ids(result.current.rows)).toEqual([2]));
    expect(snapshots(gateway)).toEqual([]);
  });

  it("keeps its rows at a reset until the new ones are there", async () => {
    const { gateway, wrapper } = setting();
    const { result } = renderHook(() => useRealTimeTable("bookings"), { wrapper });
    const main = await gateway.next();
    act(() => void main.ready());
    await act(async () => void (await gateway.next()).rows([booking(1), booking(2)]));
    gateway.position = 9;
    act(() => void main.reset());
    expect(result.current).toMatchObject({ rows: [booking(1), booking(2)], loading: false });
    await act(async () => void (await gateway.next()).rows([booking(2, "confirmed")]));
    expect(result.current.rows).toEqual([booking(2, "confirmed")]);
  });

  it("finds everything as it was where it comes back within the linger, and lets go after it", async () => {
    vi.useFakeTimers();
    try {
      const { gateway, wrapper } = setting({ rows: { bookings: [booking(1)] } });
      const first = renderHook(() => useRealTimeTable("bookings"), { wrapper });
      await act(() => vi.advanceTimersByTimeAsync(10));
      expect(ids(first.result.current.rows)).toEqual([1]);
      const requests = gateway.requests.length;

      first.unmount();
      await vi.advanceTimersByTimeAsync(500);
      const second = renderHook(() => useRealTimeTable("bookings"), { wrapper });
      expect(second.result.current).toMatchObject({ rows: [booking(1)], loading: false, status: "CONNECTED" });
      await act(() => vi.advanceTimersByTimeAsync(5000));
      expect(gateway.requests).toHaveLength(requests);
      expect(gateway.main.state).toBe("open");

      second.unmount();
      await vi.advanceTimersByTimeAsync(5000);
      expect(gateway.active).toEqual([]);
    } finally {
      vi.useRealTimers();
    }
  });
});
