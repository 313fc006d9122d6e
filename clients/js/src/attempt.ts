/**
 * One request for streams: a token, the response, the end.
 *
 * - A token that is refused is renewed once, within the attempt.
 * - Once it is closed, nothing that comes late is heard: no token, no message, no end.
 */

import { fault, faultOf } from "./error.js";
import { read } from "./event.js";
import type { Names } from "./name.js";
import { pathOf } from "./signal.js";
import type { Wants } from "./signal.js";
import type { BackoffOptions, Handlers, RealtimeError, Row, Transport } from "./types.js";
import { SILENT_MS, watchdog } from "./watchdog.js";

/** What is the same for all requests of a client. */
export interface Gateway {
  readonly url: string;
  readonly transport: Transport;
  readonly backoff?: Partial<BackoffOptions>;
  readonly heartbeatTimeoutMs?: number;
  /** Whether there is somebody to ask for another token; without, cookies say who is there. */
  readonly renews: boolean;
  readonly names: Names;
  token(renew: boolean): Promise<string | null>;
  /** Waits no longer for tokens that are on their way. */
  forget(): void;
  report(error: RealtimeError): void;
}

export interface Ask {
  readonly wants: Wants;
  readonly snapshot?: boolean;
  readonly lastEventId: string | null;
  /** Asks for another token at once. */
  readonly renew?: boolean;
}

export interface Attempt {
  close(): void;
  /** Sets how long it may be silent. */
  expect(limitMs: number): void;
  look(): void;
}

/**
 * Opens streams. `message` gets what was understood; null is a message that was not, which is reported. `ended` is called once, with null
 * where the gateway wants nobody to come back. `renewal` outlives the attempt.
 */
export function attempt(
  gateway: Gateway,
  { wants, snapshot, lastEventId, renew }: Ask,
  renewal: { done: boolean },
  message: (row: Row | null, event: string, id: string) => void,
  ended: (error: RealtimeError | null, retryMs?: number) => void,
): Attempt {
  const { transport, names } = gateway;
  let opened: { close(): void } | undefined;
  let over = false;
  const close = (): void => {
    over = true;
    dog.stop();
    opened?.close();
  };
  const end = (error: RealtimeError | null, retryMs?: number): void => {
    if (over) return;
    close();
    ended(error, retryMs);
  };
  const dog = watchdog(gateway.heartbeatTimeoutMs ?? SILENT_MS, () => {
    gateway.forget();
    end(fault("unavailable", "silence"));
  });
  const onEnd: Handlers["onEnd"] = ({ status, detail, retryMs }) => {
    if (over) return;
    if (status === 401 && gateway.renews && !renewal.done) {
      renewal.done = true;
      void begin(true);
    } else {
      end(status === 204 ? null : faultOf(status, detail), retryMs);
    }
  };
  const begin = async (renew: boolean): Promise<void> => {
    let token: string | null;
    try {
      token = await gateway.token(renew);
    } catch (cause) {
      return end(fault("unavailable", "getToken failed", { cause }));
    }
    if (over) return;
    // Without one cookies would go instead, which may be another user's.
    if (gateway.renews && !token) return onEnd({ status: 401, detail: "no token" });
    const request = { url: gateway.url + pathOf(wants, snapshot), token, lastEventId, events: Object.keys(wants).flatMap(names.of) };
    opened = transport.open(request, {
      onOpen: () => dog.alive(),
      onAlive: () => dog.alive(),
      onMessage(each) {
        if (over) return;
        let row: Row | null = null;
        try {
          row = read(each);
        } catch (cause) {
          gateway.report(fault("malformed", (cause as Error).message));
        }
        message(row, each.event, each.id);
      },
      onEnd,
    });
    if (over) opened.close();
  };
  void begin(renew === true);
  return { close, expect: dog.alive, look: dog.look };
}
