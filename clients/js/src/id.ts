/**
 * An id is a place in the gateway's log: `<epoch>-<position>`.
 *
 * - One position may come on several streams. Then all of its events but the last have the stream's name behind it, in alphabetical order.
 * - Positions have up to 18 digits, more than a number can tell apart: they are compared as text.
 */

const ID = /^([0-9a-z]{4,16})-(\d{1,18})(?:-([a-z][a-z-]{0,30}))?$/;

/** The id of who has nothing yet: it is no place to go on from. */
const NOWHERE = "none-0";

/** Returns an id if it is a place to go on from. */
export function placed(id: string | null): string | undefined {
  return id !== null && id !== NOWHERE && ID.test(id) ? id : undefined;
}

/** Says whether this is an id of ours. */
export function isId(id: string): boolean {
  return ID.test(id);
}

/** Says whether an id lies at or before the last one. In another epoch nothing does. */
export function isCovered(id: string, last: string | null): boolean {
  const [, epoch, ...place] = ID.exec(id) ?? [];
  const [, lastEpoch, ...lastPlace] = ID.exec(last ?? "") ?? [];
  return epoch !== undefined && epoch === lastEpoch && order(place) <= order(lastPlace);
}

/** The tilde comes after every letter: without a name an event is the position's last. */
function order([position = "", stream = "~"]: (string | undefined)[]): string {
  return position.padStart(18, "0") + stream;
}
