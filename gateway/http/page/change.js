/** What an event says, whichever format it is in: what happened to which row, and the difference column by column. */

import { brief, isRow, parse, same } from "./json.js";
import { span } from "./dom.js";

const CONTROL = new Set(["ready", "reset", "snapshot", "checkpoint", "auth-expiring", "reconnect", "closed"]);
const ABOUT = new Set(["version", "type", "schema", "table", "left", "truncated"]);
const TOUCHED = "updated_at";

/** Reads an event: `{control, body, type, key, before, after, changes, rest, left, truncated, committed}`; committed in milliseconds. */
export function read(event) {
  let body;
  try {
    body = parse(event.data);
  } catch {
    return { control: false, body: undefined, type: "no JSON", key: "", before: undefined, after: undefined };
  }
  if (CONTROL.has(event.name)) return { control: true, body, type: event.name, key: "", before: undefined, after: undefined };
  // A CloudEvent is an envelope, and what is in it is raw.
  const data = isRow(body) && "specversion" in body && isRow(body.data) ? body.data : isRow(body) ? body : {};
  const rows = "record" in data ? [data.old_record, data.record] : "new" in data ? [data.old, data.new] : [];
  const [before, after] = rows.map((row) => (isRow(row) && Object.keys(row).length ? row : undefined));
  const rest = Object.fromEntries(Object.entries(data).filter(([name]) => !ABOUT.has(name) && name !== "changes"));
  const whole = rows.length > 0;
  return {
    control: false,
    body,
    type: data.type ?? data.eventType ?? typeOf(data),
    key: keyOf(whole ? (after ?? before ?? {}) : rest),
    before,
    after,
    changes: isRow(data.changes) ? data.changes : undefined,
    rest: whole ? {} : rest,
    left: data.left === true,
    truncated: data.truncated === true,
    committed: committedAt(data),
  };
}

/** `diff` says it by the event's name, and by what it has. */
const typeOf = (data) => ("changes" in data ? "UPDATE" : "deleted_at" in data ? "DELETE" : "INSERT");

function keyOf(row) {
  const name = "id" in row ? "id" : (Object.keys(row).find((each) => each.endsWith("_id")) ?? Object.keys(row)[0]);
  return name === undefined ? "" : brief(row[name]);
}

/** When the change was committed, as far as the event tells: `diff` has only the row's own times. */
function committedAt(data) {
  const time = Date.parse(data.commit_timestamp ?? data.deleted_at ?? data.updated_at ?? "");
  return Number.isNaN(time) ? undefined : time;
}

/** Returns the difference: `{column, mark, old, new}`, what has changed first; mark is changed, added, removed or same. */
export function differences({ type, before, after, changes, rest = {} }) {
  if (changes || !(before || after)) return [...marked(changes ?? {}), ...only(rest, changes ? "same" : type === "DELETE" ? "removed" : "added")];
  if (!before || !after) return only(after ?? before, after ? "added" : "removed");
  const columns = [...new Set([...Object.keys(after), ...Object.keys(before)])];
  const found = columns.map((column) => ({ column, mark: markOf(before, after, column), old: before[column], new: after[column] }));
  return [...found.filter(({ mark }) => mark !== "same"), ...found.filter(({ mark }) => mark === "same")];
}

const marked = (changes) => Object.entries(changes).map(([column, each]) => ({ column, mark: "changed", old: each.old, new: each.new }));

const only = (row, mark) =>
  Object.entries(row).map(([column, value]) => ({ column, mark, old: mark === "added" ? undefined : value, new: mark === "removed" ? undefined : value }));

function markOf(before, after, column) {
  if (!(column in before)) return "added";
  if (!(column in after)) return "removed";
  return same(before[column], after[column]) ? "same" : "changed";
}

/** Says an event in a line. */
export function summary(event, change) {
  const { body, type, left, truncated } = change;
  if (change.control) return controls[event.name](body);
  if (body === undefined) return event.data;
  if (type === "STATUS") return `${body.component ?? body.data?.component} is ${body.status ?? body.data?.status}`;
  if (left) return "left: somebody else’s now, or past the filter";
  if (truncated) return "too large: only its key came";
  const found = differences(change);
  if (type !== "UPDATE") return found.filter(({ column }) => column !== "id").map((each) => `${each.column} ${brief(each.new ?? each.old)}`).join(", ");
  const told = found.filter(({ mark, column }) => mark !== "same" && column !== TOUCHED);
  return told.map((each) => `${each.column} ${brief(each.old)} → ${brief(each.new)}`).join(", ") || "nothing that is published";
}

const controls = {
  ready: (body) => `${body.status}, from ${body.from}`,
  reset: (body) => [body.reason, body.table, body.streams?.join(", ")].filter(Boolean).join(", "),
  snapshot: (body) => `${body.stream}: ${body.rows?.length} rows${body.done ? ", done" : ""}`,
  checkpoint: () => "the id moves on",
  "auth-expiring": (body) => `the token ends at ${body.expires_at}`,
  reconnect: (body) => `${body.reason}; come back in ${span(Number(body.retry ?? 0))}`,
  closed: (body) => `${body.reason}: not with this token again`,
};
