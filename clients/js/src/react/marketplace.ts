"use client";
/**
 * The streams of the service marketplace.
 *
 * - Whose rows come is the token's to say. The id says that somebody is there, and who: without one nothing is opened, and with another
 *   one nothing of the former user's remains.
 */

import { useRealTimeTable } from "./table.js";
import type { RealTimeOptions, RealTimeState } from "./table.js";
import type { Availability, Booking, Notification, Payment, Service } from "./row.js";
import type { Row } from "../types.js";

/** Null, undefined and an empty text are nobody yet. */
export type UserId = string | number | null | undefined;

/** What a hook of a user's own rows may be told; `scope` is the user. */
export type UserOptions<T, S = T> = Omit<RealTimeOptions<T, S>, "scope">;

export type RealTimeBookings<S = Booking> = RealTimeState & { readonly bookings: readonly S[] };
export type RealTimePayments<S = Payment> = RealTimeState & { readonly payments: readonly S[] };
export type RealTimeAvailability<S = Availability> = RealTimeState & { readonly availability: readonly S[] };
export type RealTimeNotifications<S = Notification> = RealTimeState & { readonly notifications: readonly S[] };
export type RealTimeServices<S = Service> = RealTimeState & { readonly services: readonly S[] };

/** Returns the bookings that a customer has made, or with the role `provider` those that a provider serves. */
export function useRealTimeBookings<S = Booking>(
  userId: UserId,
  options: UserOptions<Booking, S> & { readonly role?: "customer" | "provider" | undefined } = {},
): RealTimeBookings<S> {
  const { rows, ...state } = useRowsOf<Booking, S>(options.role === "provider" ? "provider-bookings" : "bookings", userId, options);
  return { bookings: rows, ...state };
}

/** Returns the payments for a customer's bookings. */
export function useRealTimePayments<S = Payment>(userId: UserId, options: UserOptions<Payment, S> = {}): RealTimePayments<S> {
  const { rows, ...state } = useRowsOf<Payment, S>("payments", userId, options);
  return { payments: rows, ...state };
}

/** Returns when a provider can be booked. */
export function useRealTimeAvailability<S = Availability>(providerId: UserId, options: UserOptions<Availability, S> = {}): RealTimeAvailability<S> {
  const { rows, ...state } = useRowsOf<Availability, S>("availability", providerId, options);
  return { availability: rows, ...state };
}

/** Returns what a user was told, the newest first, and calls back with what they are told from now on. */
export function useRealTimeNotifications<S = Notification>(
  userId: UserId,
  options: UserOptions<Notification, S> & { readonly onNotification?: ((notification: Notification) => void) | undefined } = {},
): RealTimeNotifications<S> {
  const { rows, ...state } = useRowsOf<Notification, S>("notifications", userId, telling(options, options.onNotification));
  return { notifications: rows, ...state };
}

/** Returns what the marketplace offers, to everybody the same. */
export function useRealTimeServices<S = Service>(options: RealTimeOptions<Service, S> = {}): RealTimeServices<S> {
  const { rows, ...state } = useRealTimeTable<Service, S>("services", options);
  return { services: rows, ...state };
}

/** Returns one user's rows. */
export function useRowsOf<T = Row, S = T>(stream: string, userId: UserId, options: UserOptions<T, S>): RealTimeState & { readonly rows: readonly S[] } {
  const there = userId !== null && userId !== undefined && userId !== "";
  return useRealTimeTable<T, S>(stream, { ...options, enabled: there && options.enabled !== false, scope: there ? userId : undefined });
}

/** Adds a callback for new rows, and the newest first where no other order is asked for. */
export function telling<T extends { readonly id: number }, S>(options: UserOptions<T, S>, tell: ((row: T) => void) | undefined): UserOptions<T, S> {
  const { onChange } = options;
  const changed: UserOptions<T, S>["onChange"] = (event) => {
    onChange?.(event);
    if (event.change.type === "INSERT" && event.change.record !== null) tell?.(event.change.record);
  };
  return { ...options, compare: options.compare ?? newestFirst, onChange: onChange || tell ? changed : undefined };
}

const newestFirst = (a: { readonly id: number }, b: { readonly id: number }): number => b.id - a.id;
