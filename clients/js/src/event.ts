/** Text from the network → what it says. Whatever is not what the gateway sends is thrown out here. */

import { isId } from "./id.js";
import type { Change, ComponentState, Message, Row } from "./types.js";

/** Reads a message's object. Throws an Error that quotes nothing of it. */
export function read({ id, event, data }: Message): Row {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    // Not an object either.
  }
  check(isId(id) && isObject(value), event);
  return value;
}

/** Reads a change, or what the stream says of a part of the gateway. */
export function readEvent(row: Row, event: string): { change: Change } | { state: ComponentState } {
  const { type, schema, table, record, old_record, commit_timestamp, columns, component, status, since } = row;
  if (type === "STATUS") {
    check([component, status, since].every(isText), event);
    return { state: { component, status, since } as ComponentState };
  }
  check(/^(INSERT|UPDATE|DELETE)$/.test(type as string) && [schema, table, commit_timestamp].every(isText) && Array.isArray(columns), event);
  check([type === "DELETE" ? old_record : record, record ?? {}, old_record ?? {}].every(isObject), event);
  return { change: row as unknown as Change };
}

export function isObject(value: unknown): value is Row {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function check(holds: boolean, event: string): asserts holds {
  if (!holds) throw new Error(`malformed event ${event.slice(0, 40)}`);
}
