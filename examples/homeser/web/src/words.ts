/** What states, steps and events are called. */

import type { RealtimeEvent, Row } from "rowcast";
import type { Booking, Payment } from "rowcast/react";

import type { Tone } from "../../../web-shared/badge";
import { MISSING } from "../../../web-shared/format";

export interface Me {
  readonly id: string;
  readonly name: string;
  readonly role: "customer" | "provider" | "admin";
  /** The gateway's address. */
  readonly rowcast: string;
  /** What the user may make of a booking of each status. */
  readonly moves: Readonly<Partial<Record<Booking["status"], readonly Booking["status"][]>>>;
}

export const BOOKING: Record<Booking["status"], { word: string; tone: Tone; step: string }> = {
  pending: { word: "Pending", tone: "wait", step: "Put back" },
  confirmed: { word: "Confirmed", tone: "go", step: "Confirm" },
  in_progress: { word: "In progress", tone: "busy", step: "Start" },
  completed: { word: "Completed", tone: "good", step: "Complete" },
  cancelled: { word: "Cancelled", tone: "off", step: "Cancel" },
};

export const PAYMENT: Record<Payment["status"], { word: string; tone: Tone }> = {
  pending: { word: "To pay", tone: "wait" },
  authorized: { word: "Authorized", tone: "go" },
  paid: { word: "Paid", tone: "good" },
  refunded: { word: "Refunded", tone: "off" },
  failed: { word: "Payment failed", tone: "bad" },
};

const NOUNS: Record<string, string> = { bookings: "Booking", payments: "Payment", notifications: "Notification", services: "Service" };

/** Says in one line what an event tells. */
export function told<T>({ change }: RealtimeEvent<T>): string {
  const { type, table, record, old_record: old } = change;
  const [row, before] = [(record ?? old ?? {}) as Row, (old ?? {}) as Row];
  if (table === "notifications" && type === "INSERT") return `Notification: ${row["title"] ?? MISSING}`;
  const what = table === "services" ? String(row["name"] ?? row["id"]) : `${NOUNS[table] ?? table} ${row["id"]}`;
  if (type === "INSERT") return `${what} is new`;
  if (type === "DELETE") return change.left === true ? `${what} is no longer yours` : `${what} was removed`;
  const changed = Object.keys(row).filter((name) => name !== "updated_at" && JSON.stringify(row[name]) !== JSON.stringify(before[name]));
  if (changed.includes("status")) return `${what}: ${spaced(before["status"])} → ${spaced(row["status"])}`;
  return changed.length === 0 ? `${what} was saved` : `${what} changed: ${changed.map(spaced).join(", ")}`;
}

const spaced = (word: unknown): string => String(word).replaceAll("_", " ");
