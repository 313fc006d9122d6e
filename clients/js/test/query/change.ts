/** Changes as the gateway tells them. */

import type { Change, Row } from "../../src/types.js";

const COMMON = { version: 1, schema: "public", table: "bookings", commit_timestamp: "2026-05-04T13:31:37+00:00", columns: [] };

export function insertion(record: Row): Change {
  return { ...COMMON, type: "INSERT", record, old_record: null };
}

export function update(record: Row, old: Row | null): Change {
  return { ...COMMON, type: "UPDATE", record, old_record: old };
}

export function deletion(old: Row, left = false): Change {
  return { ...COMMON, type: "DELETE", record: null, old_record: old, ...(left ? { left } : {}) };
}
