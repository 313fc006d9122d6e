/**
 * Filters in PostgREST's syntax: `status=eq.pending&price=lt.100`, all of which must hold.
 *
 * - The gateway filters. Here it is done only where listeners of one stream want different rows, and the connection has them all.
 * - As the gateway does: null makes a condition unknown, and so its negation. Numbers are those of JavaScript: beyond 15 digits they blur.
 */

import { conditions } from "./condition.js";
import { fault } from "./error.js";
import { like } from "./like.js";
import { nameOf } from "./name.js";
import type { Names } from "./name.js";
import type { Change, RealtimeError, RealtimeEvent, Row } from "./types.js";

type Value = string | number | boolean;
/** Null is unknown. `type` is the column's in Postgres. */
type Test = (value: unknown, type: string | undefined) => boolean | null;
type Report = (error: RealtimeError) => void;

/** Returns what tells how an event looks through the filter, as `judge` does for its change. */
export function judgeEvents(filter: string, names: Pick<Names, "declared">, report?: Report): (event: RealtimeEvent) => RealtimeEvent | null {
  const judged = judge(filter, report);
  return (event) => {
    const change = judged(event.change);
    return change && { ...event, name: nameOf(names, event.stream, change.type, event.name), change };
  };
}

/** Returns what tells how a change looks through the filter; null if it does not. Throws if an operator is none. */
export function judge<T extends Row>(filter: string, report?: Report): (change: Change<T>) => Change<T> | null {
  const tests = conditions(filter).map(([column, condition]) => [column, compiled(condition, report)] as const);
  return (change) => {
    const types = new Map(change.columns.map(({ name, type }) => [name, type]));
    // Of a row that was too large only its key is there: better once too often than never.
    const passes = (row: Row | null): boolean =>
      row !== null && tests.every(([column, test]) => row[column] === undefined || test(row[column], types.get(column)) === true);
    const before = change.type !== "INSERT" && passes(change.old_record as Row);
    const after = change.type !== "DELETE" && passes(change.record);
    if (change.type !== "UPDATE" || before === after) return before || after ? change : null;
    return after ? { ...change, type: "INSERT", old_record: null } : { ...change, type: "DELETE", record: null, left: true };
  };
}

function compiled(condition: string, report?: Report): Test {
  const [, not, operator = "", operand = ""] = /^(not\.)?(\w+)\.(.*)$/s.exec(condition) ?? [];
  const test = operator === "is" ? is(operand) : /^i?like$/.test(operator) ? pattern(operand, operator === "ilike") : compare(operator, operand, report);
  return (value, type) => {
    const found = operator !== "is" && value === null ? null : test(value, type);
    return found === null ? null : found !== (not !== undefined);
  };
}

function pattern(operand: string, ignoreCase: boolean): Test {
  const matches = like(operand, ignoreCase);
  return (value) => matches(String(value));
}

function is(word: string): Test {
  const wanted = { null: null, unknown: null, true: true, false: false }[word.toLowerCase()];
  return (value) => (wanted === undefined ? value !== null : value === wanted);
}

const COMPARE: Readonly<Record<string, (order: number) => boolean>> = {
  eq: (order) => order === 0,
  neq: (order) => order !== 0,
  gt: (order) => order > 0,
  gte: (order) => order >= 0,
  lt: (order) => order < 0,
  lte: (order) => order <= 0,
  in: (order) => order === 0,
};

function compare(operator: string, operand: string, report?: Report): Test {
  const holds = COMPARE[operator];
  if (!holds) throw new Error(`there is no operator "${operator.slice(0, 20)}" in a filter`);
  const operands = operator === "in" ? listed(operand) : [operand];
  let reported = false;
  return (value, type) => {
    const mine = comparable(value, type);
    const theirs = operands.map((each) => comparable(each, type));
    // The gateway would have refused it.
    if (theirs.includes(null) && !reported) report?.(fault("bad-request", `"${operand.slice(0, 40)}" is no ${type}, and nothing passes the filter`));
    reported ||= theirs.includes(null);
    return mine === null || theirs.includes(null) ? null : theirs.some((each) => holds(order(mine, each as Value)));
  };
}

/** Reads `(a,b,"c,d")`. */
function listed(text: string): string[] {
  const items = text.slice(1, -1).matchAll(/(?:^|,)(?:"((?:[^"\\]|\\.)*)"|([^,]*))/gs);
  return [...items].map(([, quoted, plain = ""]) => quoted?.replace(/\\(.)/gs, "$1") ?? plain);
}

/** NaN equals itself and is above every number. */
function order(a: Value, b: Value): number {
  if (a === b || (a !== a && b !== b)) return 0;
  return a !== a || a > b ? 1 : -1;
}

/** Returns a value of a column, or a client's text, as what can be compared; null for none. */
function comparable(value: unknown, type = "text"): Value | null {
  const text = String(value);
  if (/^(int\d|numeric|float8)$/.test(type)) return Number(text);
  if (type === "float4") return Math.fround(Number(text));
  if (type === "bool") return text.toLowerCase() === "true";
  if (type === "uuid") return text.toLowerCase().replace(/[^0-9a-f]/g, "");
  if (/^(date|timestamp)/.test(type)) return moment(text);
  // By code points: of one length, so that texts compare as the lists of them do.
  return Array.from(text, (character) => String(character.codePointAt(0)).padStart(7, "0")).join("");
}

/** Returns the microseconds of a time; without a zone it is UTC. */
function moment(text: string): number | null {
  if (/^-?infinity$/.test(text)) return text[0] === "-" ? -Infinity : Infinity;
  const [, year = "", month = "", day = "", time = "00:00", fraction = "", sign = "+", hours = "00", minutes = "00"] =
    /^(\d{4,})-?(\d\d)-?(\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d+))?(?:Z|([+-])(\d\d):?(\d\d)?)?)?$/.exec(text) ?? [];
  const ms = Date.parse(`${year}-${month}-${day}T${time}${sign}${hours}:${minutes}`);
  return Number.isNaN(ms) ? null : ms * 1000 + Number(fraction.padEnd(6, "0").slice(0, 6));
}
