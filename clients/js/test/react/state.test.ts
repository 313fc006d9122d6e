// @vitest-environment jsdom
import { act, render, renderHook, screen, waitFor } from "@testing-library/react";
import { createElement } from "react";
import { describe, expect, it, vi } from "vitest";

import {
  RealtimeProvider,
  useConnection,
  useConnectionStatus,
  useRealtimeClient,
  useRealTimeBookings,
  useRealTimeTable,
} from "../../src/react/index.js";
import "./dom.js";
import { booking, ids, setting, settle } from "./support.js";

describe("the state of the connection", () => {
  it("is that of the client, with what is wrong until it is well again", async () => {
    const { gateway, wrapper } = setting({}, { backoff: { initialMs: 1, maxMs: 1 } });
    const { result } = renderHook(() => ({ table: useRealTimeTable("bookings"), status: useConnectionStatus(), connection: useConnection() }), { wrapper });
    const first = await gateway.next();
    expect(result.current.status).toBe("CONNECTING");
    act(() => void first.ready());
    expect(result.current.status).toBe("CONNECTED");
    await act(async () => void (await gateway.next()).rows([booking(1)]));
    expect(ids(result.current.table.rows)).toEqual([1]);

    act(() => void first.cut());
    expect(result.current.status).toBe("RECONNECTING");
    expect(result.current.connection).toMatchObject({ status: "RECONNECTING", error: { code: "unavailable" } });
    expect(result.current.table).toMatchObject({ status: "RECONNECTING", error: { code: "unavailable" }, loading: false, rows: [booking(1)] });

    const second = await gateway.next();
    act(() => void second.ready());
    expect(result.current.connection).toMatchObject({ status: "CONNECTED", error: null });
    expect(result.current.table).toMatchObject({ status: "CONNECTED", error: null, rows: [booking(1)] });
  });

  it("is an error, and no loading, where the gateway says no; and comes back when it is asked to", async () => {
    const { gateway, wrapper } = setting();
    const { result } = renderHook(() => ({ ...useRealTimeBookings(1), connection: useConnection() }), { wrapper });
    const refused = await gateway.next();
    act(() => void refused.refuse(403, { detail: "not a customer" }));
    expect(result.current).toMatchObject({ status: "DISCONNECTED", loading: false, bookings: [], error: { code: "forbidden", status: 403 } });
    expect(result.current.connection.error?.message).toBe("not a customer");

    act(() => result.current.reconnect());
    const second = await gateway.next();
    act(() => void second.ready());
    await act(async () => void (await gateway.next()).rows([booking(1)]));
    expect(result.current).toMatchObject({ status: "CONNECTED", loading: false, error: null, bookings: [booking(1)] });

    act(() => result.current.connection.reconnect());
    await act(settle);
    expect(second.state).toBe("closed");
  });

  it("is an error, and no loading, where the rows alone are refused; and loading where they are asked for again", async () => {
    const { gateway, wrapper } = setting({}, { backoff: { initialMs: 1, maxMs: 1 } });
    const { result } = renderHook(() => useRealTimeTable("changes"), { wrapper });
    const main = await gateway.next();
    act(() => void main.ready());
    await act(async () => void (await gateway.next()).refuse(503));
    expect(result.current).toMatchObject({ status: "CONNECTED", loading: true, error: { code: "unavailable" } });
    await act(async () => void (await gateway.next()).refuse(400));
    expect(result.current).toMatchObject({ status: "CONNECTED", loading: false, error: { code: "bad-request" } });
  });

  it("is the same object as long as nothing changes", () => {
    const { wrapper } = setting();
    const { result, rerender } = renderHook(() => ({ connection: useConnection(), table: useRealTimeTable("bookings", { filter: {} }) }), { wrapper });
    const before = result.current;
    rerender();
    expect(result.current.connection).toBe(before.connection);
    expect(result.current.table).toBe(before.table);
  });
});

describe("the provider", () => {
  it("is missed with an error that says what to do", () => {
    const quiet = vi.spyOn(console, "error").mockImplementation(() => undefined);
    expect(() => renderHook(() => useRealTimeBookings(1))).toThrow(/RealtimeProvider/);
    expect(() => renderHook(() => useConnectionStatus())).toThrow(/RealtimeProvider/);
    quiet.mockRestore();
  });

  it("hands over the client", () => {
    const { client, wrapper } = setting();
    expect(renderHook(() => useRealtimeClient(), { wrapper }).result.current).toBe(client);
  });

  it("shows nothing of one client's rows with another client", async () => {
    const [first, second] = [setting({ rows: { bookings: [booking(1)] } }), setting({ rows: { bookings: [booking(2)] } })];
    const shown: string[] = [];
    const List = () => {
      const { bookings } = useRealTimeBookings(1, { initial: [booking(1) as never] });
      shown.push(JSON.stringify(ids(bookings)));
      return createElement("p", null, JSON.stringify(ids(bookings)));
    };
    const page = (client: typeof first.client) => createElement(RealtimeProvider, { client }, createElement(List));
    const { rerender } = render(page(first.client));
    await waitFor(() => screen.getByText("[1]"));
    const before = shown.length;
    rerender(page(second.client));
    await waitFor(() => screen.getByText("[2]"));
    expect(shown.slice(before)).not.toContain("[1]");
  });
});
