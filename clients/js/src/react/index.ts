"use client";
/** Rowcast in React: `rowcast/react`. */

export { useConnection, useConnectionStatus } from "./connection.js";
export type { Connection } from "./connection.js";
export type { FilterObject, FilterOption } from "./filter.js";
export {
  useRealTimeAvailability,
  useRealTimeBookings,
  useRealTimeNotifications,
  useRealTimePayments,
  useRealTimeServices,
} from "./marketplace.js";
export type {
  RealTimeAvailability,
  RealTimeBookings,
  RealTimeNotifications,
  RealTimePayments,
  RealTimeServices,
  UserId,
  UserOptions,
} from "./marketplace.js";
export { useRealTimeProperties, useRealTimePropertyAlerts } from "./property.js";
export type { RealTimeProperties, RealTimePropertyAlerts } from "./property.js";
export { RealtimeProvider, useRealtimeClient } from "./provider.js";
export type { Availability, Booking, Notification, Payment, Property, PropertyAlert, Service } from "./row.js";
export { useRealTimeTable } from "./table.js";
export type { RealTimeOptions, RealTimeState, RealTimeTable } from "./table.js";
