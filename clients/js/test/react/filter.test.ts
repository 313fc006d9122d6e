import { describe, expect, it } from "vitest";

import { filterText } from "../../src/react/filter.js";

describe("a filter as an object", () => {
  it("is written as equality, lists and null, whatever the order of its columns", () => {
    expect(filterText({ status: ["available", "pending"], city: "Austin", price: 5, read: false, notes: null })).toBe(
      "city=eq.Austin&notes=is.null&price=eq.5&read=eq.false&status=in.(available%2Cpending)",
    );
  });

  it("puts into quotes what would end an item of a list", () => {
    const text = decodeURIComponent(filterText({ city: ['St. "Paul"', "a,b", "(c)", "d\\e", 'f\\"g', 7] }) ?? "");
    expect(text).toBe('city=in.("St. \\"Paul\\"","a,b","(c)",d\\e,"f\\\\\\"g",7)');
  });

  it("encodes what would end a condition", () => {
    const text = filterText({ name: "Smith & Sons=+%" }) ?? "";
    expect([...new URLSearchParams(text)]).toEqual([["name", "eq.Smith & Sons=+%"]]);
  });

  it("has no condition where a value is undefined", () => {
    expect(filterText({ city: undefined })).toBe("");
  });

  it("lets nothing pass where a list is empty", () => {
    expect(filterText({ city: "Austin", status: [] })).toBeNull();
  });

  it("is text as it stands", () => {
    expect(filterText("price=lt.5&city=eq.Austin")).toBe("price=lt.5&city=eq.Austin");
    expect(filterText(undefined)).toBe("");
  });
});
