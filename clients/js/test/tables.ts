/** Tables on a client whose gateway is the test. */

import { vi } from "vitest";

import type { MockRequest } from "../src/mock.js";
import type { Row, TableOptions, TableStore } from "../src/types.js";
import { pass, setup } from "./support.js";
import type { Setup } from "./support.js";

export interface Used extends Setup {
  readonly store: TableStore;
  readonly told: ReturnType<typeof vi.fn>;
  readonly stop: () => void;
  readonly main: MockRequest;
}

/** A table that is connected and has asked for its rows. */
export async function asking(options: TableOptions = {}): Promise<Used> {
  const made = setup();
  const store = made.client.table("bookings", options);
  const told = vi.fn();
  const stop = store.subscribe(told);
  await pass();
  const main = made.gateway.main.ready();
  await pass();
  return { ...made, store, told, stop, main };
}

/** The same, with its rows. */
export async function filled(rows: readonly Row[], options: TableOptions = {}): Promise<Used> {
  const made = await asking(options);
  made.gateway.snapshotOf("bookings").rows(rows);
  return made;
}

/** Returns the ids of its rows, in order. */
export function keys({ state }: TableStore): unknown[] {
  return state.rows.map(({ id }) => id);
}
