/** Which events a stream has. */

export type EventNames = Readonly<Record<string, readonly string[]>>;

export const TYPES = ["INSERT", "UPDATE", "DELETE"] as const;

/** Of the streams that come with Rowcast, those whose events are not called as they are, in the order of the types. */
export const EVENT_NAMES: EventNames = {
  properties: ["property-created", "property-updated", "property-deleted"],
  "property-alerts": ["property-alert"],
};

/** Returns the name of a stream's event of a type; `otherwise` where it is not known. */
export function nameOf({ declared }: Pick<Names, "declared">, stream: string, type: (typeof TYPES)[number], otherwise: string): string {
  return declared[stream]?.[TYPES.indexOf(type)] ?? otherwise;
}

/** The names of all streams' events: those that are declared, and instead, for streams of which somebody has listened to one by name, with that one. */
export interface Names {
  readonly declared: EventNames;
  readonly heard: Record<string, readonly string[]>;
  /** Returns the names that a stream's events may have. */
  of(stream: string): readonly string[];
  /** Returns the stream of an event, among those given or all that are declared. */
  streamOf(event: string, among?: readonly string[]): string | undefined;
}

export function createNames(events?: EventNames): Names {
  const declared: EventNames = { ...EVENT_NAMES, ...events };
  const names: Names = {
    declared,
    heard: {},
    of: (stream) => names.heard[stream] ?? declared[stream] ?? [stream],
    streamOf: (event, among = Object.keys(declared)) => among.find((stream) => names.of(stream).includes(event)) ?? (among[1] ? undefined : among[0]),
  };
  return names;
}
