import { describe, expect, it } from "vitest";

import { createView } from "../../src/react/view.js";

interface Place {
  readonly id: number;
  readonly city: string;
}

const ROWS: readonly Place[] = [
  { id: 1, city: "Dallas" },
  { id: 2, city: "Austin" },
];
const byCity = (a: Place, b: Place): number => a.city.localeCompare(b.city);

describe("a component's view of the rows", () => {
  it("is the store's own array where nothing is ordered or chosen", () => {
    expect(createView<Place, Place>()(ROWS, undefined, undefined)).toBe(ROWS);
  });

  it("is ordered without touching the store's array", () => {
    const rows = createView<Place, Place>()(ROWS, byCity, undefined);
    expect(rows.map((row) => row.id)).toEqual([2, 1]);
    expect(ROWS.map((row) => row.id)).toEqual([1, 2]);
  });

  it("is the same array where functions are new and say the same", () => {
    const view = createView<Place, string>();
    const choose = () => view(ROWS, (a, b) => byCity(a, b), (rows) => rows.map((row) => row.city));
    expect(choose()).toEqual(["Austin", "Dallas"]);
    expect(choose()).toBe(choose());
  });

  it("is another array where the order is another, or a row", () => {
    const view = createView<Place, Place>();
    const first = view(ROWS, byCity, undefined);
    const second = view(ROWS, (a, b) => byCity(b, a), undefined);
    expect(second.map((row) => row.id)).toEqual([1, 2]);
    expect(second).not.toBe(first);
    expect(view([{ id: 1, city: "Denver" }, ROWS[1] as Place], byCity, undefined).map((row) => row.city)).toEqual(["Austin", "Denver"]);
  });
});
