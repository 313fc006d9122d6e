/** What an event says, whichever format it is in: what happened to which row, and the difference column by column. */

import { brief, isRow, parse, same } from "./json.js";
import { span } from "./dom.js";

const CONTROL = new Set(["ready", "reset", "snapshot", "checkpoint", "auth-expiring", "reconnect", "closed"]);
const OPERATIONS = new Set(["INSERT", "UPDATE", "DELETE", "TRUNCATE", "STATUS"]);
const TOUCHED = "updated_at";

/** What is known of an event that nothing can be made of. */
export const unread = { control: false, body: undefined, type: "unread", key: "", before: undefined, after: undefined };

/**
 * Reads an event: `{control, body, type, key, before, after, changes, rest, left, truncated, committed}`; committed in milliseconds.
 * In `diff` a row's own columns stand beside what is said of it, whatever they are called: only what looks as the gateway writes it is taken for that.
 */
export function read(event) {
  let body;
  try {
    body = parse(event.data);
  } catch {
    return { ...unread, type: "no JSON" };
  }
  if (CONTROL.has(event.name)) return { ...unread, control: true, body, type: event.name };
  const data = enveloped(body);
  const rows = rowsOf(data);
  const [before, after] = rows.map((row) => (isRow(row) && Object.keys(row).length ? row : undefined));
  const whole = rows.length > 0;
  const changes = whole ? undefined : changesOf(data);
  const type = operationOf(data) ?? (changes ? "UPDATE" : isDeletion(data) ? "DELETE" : "INSERT");
  const rest = Object.fromEntries(Object.entries(data).filter(([name, value]) => !isAbout(data, name, value) && !(changes && name === "changes")));
  return {
    control: false,
    body,
    type,
    key: keyOf(whole ? (after ?? before ?? {}) : rest),
    before,
    after,
    changes,
    rest: whole ? {} : rest,
    left: type === "DELETE" && data.left === true,
    truncated: data.truncated === true,
    committed: timeOf(data.commit_timestamp) ?? timeOf(type === "DELETE" ? data.deleted_at : data.updated_at),
  };
}

/** A CloudEvent is an envelope, and what is in it is raw. */
function enveloped(body) {
  if (!isRow(body)) return {};
  return typeof body.specversion === "string" && isRow(body.data) && String(body.type).startsWith("rowcast.") ? body.data : body;
}

/** Returns the old row and the new one of what is raw or supabase. */
function rowsOf(data) {
  const isPart = (...names) => names.every((name) => data[name] === null || isRow(data[name]));
  if (typeof data.commit_timestamp !== "string") return [];
  if (isPart("record", "old_record")) return [data.old_record, data.record];
  return "eventType" in data && isPart("new", "old") ? [data.old, data.new] : [];
}

/** Returns what happened, where it is said. `diff` mostly says it by the event's name, and by what it has. */
function operationOf(data) {
  const said = [data.type, data.eventType].find((each) => OPERATIONS.has(each));
  return said === "STATUS" && !("component" in data) ? undefined : said;
}

/** Returns the changes of a `diff`: of each column the old value and the new one. A new row has `created_at`, and may have a column of the name. */
function changesOf(data) {
  if (!isRow(data.changes)) return undefined;
  const each = Object.values(data.changes);
  const told = each.length ? each.every((one) => isRow(one) && "old" in one && "new" in one) : !("created_at" in data);
  return told ? data.changes : undefined;
}

const isDeletion = (data) => typeof data.deleted_at === "string" && !("created_at" in data);

/** Whether a field is said of the row, and is none of its columns. */
function isAbout(data, name, value) {
  if (name === "type") return OPERATIONS.has(value);
  if (name === "left" || name === "truncated") return value === true;
  if (name === "schema" || name === "table") return typeof data.schema === "string" && typeof data.table === "string";
  return name === "version";
}

function keyOf(row) {
  const name = "id" in row ? "id" : (Object.keys(row).find((each) => each.endsWith("_id")) ?? Object.keys(row)[0]);
  return name === undefined ? "" : brief(row[name]);
}

/** When a change was committed, as far as the event tells: `diff` has only the row's own times. */
function timeOf(text) {
  const time = typeof text === "string" ? Date.parse(text) : NaN;
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
