/**
 * What a change makes of a cached list of rows.
 *
 * - Applying twice is applying once, and a change that concerns no row of the list returns the same array.
 * - A cached row may have more than the stream publishes, such as what an API has joined to it: that stays.
 * - An UPDATE of a row that is not there is not for this list, which may be one page of many. Where only the key is told of what the row
 *   was, it may be one that row-level security lets one see again: that one is new.
 */

import type { Change, Row } from "../types.js";

/** Says whether this is a list of rows that have these columns; an empty list is one. */
export function isRows(data: unknown, columns: readonly string[]): data is readonly Row[] {
  return Array.isArray(data) && data.every((row) => typeof row === "object" && row !== null && columns.every((column) => column in row));
}

/** Returns the list with the change, in the order of `compare` or with new rows at its end. */
export function applyChange(
  rows: readonly Row[],
  change: Change,
  columns: readonly string[],
  compare: ((a: Row, b: Row) => number) | undefined,
): readonly Row[] {
  const { record, old_record: old } = change;
  // Whose key has changed is another row: the one that it was is gone.
  const gone = old !== null && (record === null || differs(old, record, columns)) ? old : null;
  let next = gone === null ? rows : without(rows, gone, columns);
  if (record !== null) {
    const at = next.findIndex((row) => !differs(row, record, columns));
    if (at >= 0) next = next.map((row, place) => (place === at ? { ...row, ...record } : row));
    else if (change.type === "INSERT" || next !== rows || isMoreThan(record, old)) next = [...next, record];
    if (next !== rows && compare !== undefined) next = [...next].sort(compare);
  }
  return next;
}

function isMoreThan(record: Row, old: Partial<Row> | null): boolean {
  return old !== null && Object.keys(record).some((column) => !(column in old));
}

function without(rows: readonly Row[], gone: Partial<Row>, columns: readonly string[]): readonly Row[] {
  const rest = rows.filter((row) => differs(row, gone, columns));
  return rest.length === rows.length ? rows : rest;
}

/** A list's API may write a key as text that is a number here. What has not all columns of the key is no row of ours. */
function differs(a: Partial<Row>, b: Partial<Row>, columns: readonly string[]): boolean {
  return columns.some((column) => a[column] === undefined || b[column] === undefined || String(a[column]) !== String(b[column]));
}
