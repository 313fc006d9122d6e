"use client";
/** The streams of the property listings. */

import { telling, useRowsOf } from "./marketplace.js";
import type { UserId, UserOptions } from "./marketplace.js";
import type { Property, PropertyAlert } from "./row.js";
import { useRealTimeTable } from "./table.js";
import type { RealTimeOptions, RealTimeState } from "./table.js";

export type RealTimeProperties<S = Property> = RealTimeState & { readonly properties: readonly S[] };
export type RealTimePropertyAlerts<S = PropertyAlert> = RealTimeState & { readonly alerts: readonly S[] };

/** Returns the listings that pass the filter, to everybody the same: `{ filter: { city: "Austin" } }`. */
export function useRealTimeProperties<S = Property>(options: RealTimeOptions<Property, S> = {}): RealTimeProperties<S> {
  const { rows, ...state } = useRealTimeTable<Property, S>("properties", options);
  return { properties: rows, ...state };
}

/** Calls back with each alert from now on, and returns those that there are, the newest first. */
export function useRealTimePropertyAlerts<S = PropertyAlert>(
  userId: UserId,
  callback?: ((alert: PropertyAlert) => void) | undefined,
  options: UserOptions<PropertyAlert, S> = {},
): RealTimePropertyAlerts<S> {
  const { rows, ...state } = useRowsOf<PropertyAlert, S>("property-alerts", userId, telling(options, callback));
  return { alerts: rows, ...state };
}
