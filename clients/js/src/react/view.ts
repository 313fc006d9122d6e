/**
 * What a component sees of a store's rows: ordered and chosen by its own functions.
 *
 * - The store is shared by all components, so it is not asked to order for one of them.
 * - The same array is returned as long as it would have the same rows, also where the functions are written inline and so are new each time.
 */

export type View<T, S> = (rows: readonly T[], compare: Compare<T> | undefined, select: Select<T, S> | undefined) => readonly S[];
export type Compare<T> = (a: T, b: T) => number;
export type Select<T, S> = (rows: readonly T[]) => readonly S[];

/** Returns a view that remembers what it has returned last. */
export function createView<T, S>(): View<T, S> {
  let ordered: readonly T[] = [];
  let chosen: readonly S[] = [];
  return (rows, compare, select) => {
    ordered = compare === undefined ? rows : same(ordered, [...rows].sort(compare));
    chosen = same(chosen, select === undefined ? (ordered as readonly unknown[] as readonly S[]) : select(ordered));
    return chosen;
  };
}

function same<T>(last: readonly T[], next: readonly T[]): readonly T[] {
  return last.length === next.length && last.every((row, at) => Object.is(row, next[at])) ? last : next;
}
