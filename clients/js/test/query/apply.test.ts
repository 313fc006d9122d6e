import { describe, expect, it } from "vitest";

import { applyChange, isRows } from "../../src/query/apply.js";
import { deletion, insertion, update } from "./change.js";

const ROWS = [
  { id: 1, status: "pending", customer: "Ada" },
  { id: 2, status: "confirmed", customer: "Ben" },
];
const KEY = ["id"];

describe("a change of a cached list", () => {
  it("adds a new row at the end, or where the order says", () => {
    const inserted = insertion({ id: 3, status: "pending" });
    expect(applyChange(ROWS, inserted, KEY, undefined).map((row) => row["id"])).toEqual([1, 2, 3]);
    expect(applyChange(ROWS, inserted, KEY, (a, b) => Number(b["id"]) - Number(a["id"])).map((row) => row["id"])).toEqual([3, 2, 1]);
  });

  it("replaces on INSERT a row that is there already", () => {
    const inserted = insertion({ id: 2, status: "completed" });
    const once = applyChange(ROWS, inserted, KEY, undefined);
    expect(once).toHaveLength(2);
    expect(applyChange(once, inserted, KEY, undefined)).toEqual(once);
  });

  it("keeps what an API has joined to a row, and other rows as they are", () => {
    const next = applyChange(ROWS, update({ id: 1, status: "confirmed" }, { id: 1, status: "pending" }), KEY, undefined);
    expect(next[0]).toEqual({ id: 1, status: "confirmed", customer: "Ada" });
    expect(next[1]).toBe(ROWS[1]);
  });

  it("does not add a row on UPDATE", () => {
    expect(applyChange(ROWS, update({ id: 9, status: "x" }, { id: 9, status: "y" }), KEY, undefined)).toBe(ROWS);
  });

  it("adds a row that can be seen again: of what it was only the key is told", () => {
    const seen = update({ id: 9, status: "x" }, { id: 9 });
    const once = applyChange(ROWS, seen, KEY, undefined);
    expect(once).toEqual([...ROWS, { id: 9, status: "x" }]);
    expect(applyChange(once, seen, KEY, undefined)).toEqual(once);
    expect(applyChange(ROWS, { ...seen, record: { id: 9 }, truncated: true }, KEY, undefined)).toBe(ROWS);
  });

  it("takes away on DELETE, also by the key alone, and is the same list where it was not there", () => {
    expect(applyChange(ROWS, deletion({ id: 1 }, true), KEY, undefined)).toEqual([ROWS[1]]);
    expect(applyChange(ROWS, deletion({ id: 9 }), KEY, undefined)).toBe(ROWS);
  });

  it("follows a row whose key changes", () => {
    const next = applyChange(ROWS, update({ id: 7, status: "pending" }, { id: 1, status: "pending" }), KEY, undefined);
    expect(next.map((row) => row["id"])).toEqual([2, 7]);
  });

  it("tells rows apart by several columns, and takes text for a number", () => {
    const rows = [
      { day: "2026-05-04", hour: "9", free: true },
      { day: "2026-05-04", hour: "10", free: true },
    ];
    const next = applyChange(rows, update({ day: "2026-05-04", hour: 10, free: false }, null), ["day", "hour"], undefined);
    expect(next.map((row) => row["free"])).toEqual([true, false]);
  });
});

describe("a list of rows", () => {
  it.each([[[]], [ROWS]])("is %j", (data) => expect(isRows(data, KEY)).toBe(true));

  it.each([[undefined], [null], [5], [{ id: 1 }], [{ pages: [ROWS] }], [["a", "b"]], [[null]], [[{ name: "no key" }]], [[{ id: 1 }, { name: "no key" }]]])(
    "is not %j",
    (data) => expect(isRows(data, KEY)).toBe(false),
  );
});
