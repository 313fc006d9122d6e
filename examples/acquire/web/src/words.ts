/** What listings, searches, alerts and events are called. */

import type { RealtimeEvent } from "rowcast";
import type { Property, PropertyAlert } from "rowcast/react";

import type { Tone } from "../../../web-shared/badge";
import { MISSING, money } from "../../../web-shared/format";
import type { Search } from "./filter";

type Status = Property["status"];

export const STATUS: Record<Status, { word: string; tone: Tone; next: Status }> = {
  available: { word: "Available", tone: "good", next: "pending" },
  pending: { word: "Pending", tone: "wait", next: "sold" },
  sold: { word: "Sold", tone: "off", next: "available" },
};

/** Says what a search looks for. */
export function searched({ city, state, min_price, max_price, min_units, max_units }: Search): string {
  const parts = [
    [city, state].filter(Boolean).join(", ") || "Anywhere",
    between(min_price, max_price, money),
    between(min_units, max_units, (units) => `${units}`, " units"),
  ];
  return parts.filter(Boolean).join(" · ");
}

function between(least: number | null, most: number | null, write: (number: number) => string, unit = ""): string {
  if (least !== null && most !== null) return `${write(least)} to ${write(most)}${unit}`;
  if (least !== null) return `from ${write(least)}${unit}`;
  return most === null ? "" : `up to ${write(most)}${unit}`;
}

/** Says in one sentence why somebody is alerted. */
export function alerted({ kind, price, old_price, status, old_status }: PropertyAlert): string {
  if (kind === "created") return `is new at ${money(price)}`;
  const cost = old_price === null ? "" : `${money(old_price)} → ${money(price)}`;
  return kind === "price" ? cost : `${old_status ?? ""} → ${status ?? MISSING}${cost && `, ${cost}`}`;
}

/** Says in one line what an event tells; `name` is what the listing is called where the event does not say it. */
export function told({ change }: RealtimeEvent<Property>, name: string | undefined): string {
  const { type, record, old_record: old } = change;
  const what = record?.name ?? old?.name ?? name ?? "A listing";
  if (type === "DELETE") return change.left === true ? `${what} no longer matches` : `${what} was removed`;
  if (record === null) return what;
  if (type === "INSERT") return `${what}, ${record.city ?? MISSING}, came at ${money(record.price)}`;
  const parts = [
    old?.price !== undefined && record.price !== undefined && old.price !== record.price && `${money(old.price)} → ${money(record.price)}`,
    old?.status !== undefined && record.status !== undefined && old.status !== record.status && `${old.status} → ${record.status}`,
  ].filter(Boolean);
  return `${what}: ${parts.length === 0 ? "changed" : parts.join(", ")}`;
}
