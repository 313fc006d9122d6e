/**
 * The rows of the example systems, as JSON has them.
 *
 * - Numbers of any kind are numbers, also `numeric(10, 2)`: 79.00 comes as 79.
 * - Times are text as Postgres writes them in JSON, in UTC: `2026-05-04T13:31:37.36776+00:00`; a `date` is `2026-05-04`, a `time` is `09:30:00`.
 * - Whoever publishes other columns declares types of their own and hands them to `useRealTimeTable<T>`.
 */

export interface Booking {
  readonly id: number;
  readonly customer_id: number;
  readonly provider_id: number | null;
  readonly service_id: number;
  readonly booking_date: string;
  readonly start_time: string;
  readonly end_time: string;
  readonly status: "pending" | "confirmed" | "in_progress" | "completed" | "cancelled";
  readonly notes: string | null;
  readonly created_at: string;
  readonly updated_at: string;
}

export interface Payment {
  readonly id: number;
  readonly booking_id: number;
  readonly amount: number;
  readonly currency: string;
  readonly status: "pending" | "authorized" | "paid" | "refunded" | "failed";
  readonly method: string | null;
  readonly created_at: string;
  readonly updated_at: string;
}

export interface Availability {
  readonly id: number;
  readonly provider_id: number;
  readonly day: string;
  readonly start_time: string;
  readonly end_time: string;
  readonly available: boolean;
  readonly created_at: string;
  readonly updated_at: string;
}

export interface Notification {
  readonly id: number;
  readonly user_id: number;
  readonly kind: string;
  readonly title: string;
  readonly body: string;
  readonly booking_id: number | null;
  readonly read: boolean;
  readonly created_at: string;
}

export interface Service {
  readonly id: number;
  readonly name: string;
  readonly description: string;
  readonly category: string;
  readonly price: number;
  readonly duration_minutes: number;
  readonly active: boolean;
  readonly created_at: string;
  readonly updated_at: string;
}

export interface Property {
  readonly id: string;
  readonly name: string;
  readonly city: string;
  readonly state: string;
  readonly price: number;
  readonly units: number;
  readonly latitude: number | null;
  readonly longitude: number | null;
  readonly status: "available" | "pending" | "sold";
  readonly created_at: string;
  readonly updated_at: string;
}

/** An important change of a listing that a saved search matches. `old_price` and `old_status` are null where they stayed. */
export interface PropertyAlert {
  readonly id: number;
  readonly property_id: string;
  readonly kind: "created" | "price" | "status";
  readonly name: string;
  readonly city: string;
  readonly state: string;
  readonly price: number;
  readonly old_price: number | null;
  readonly status: string;
  readonly old_status: string | null;
  readonly created_at: string;
}
