/** Whether what one sees is live: a badge that says so in a word, and a notice when it is not. */

import { useEffect, useState, useSyncExternalStore } from "react";
import type { RealtimeError, Status } from "rowcast";
import { useConnection } from "rowcast/react";
import type { Connection } from "rowcast/react";

import type { Access, TokenSource } from "./access";
import { clock } from "./format";

const WORDS: Record<Status, string> = {
  CONNECTING: "Connecting",
  CONNECTED: "Live",
  RECONNECTING: "Reconnecting",
  DISCONNECTED: "Not live",
};
const PATIENCE_MS = 3000;

/** Says the state in a word, and in its title since when, and how long the token is good. */
export function ConnectionBadge({ tokens }: { tokens: TokenSource }) {
  const { status, since } = useLive();
  const access = useSyncExternalStore(tokens.subscribe, tokens.read);
  return (
    <span className="connection" data-status={status} role="status" title={`${WORDS[status]} since ${clock(since)}${explained(status, access)}`}>
      {WORDS[status]}
    </span>
  );
}

function explained(status: Status, { until, renewals }: Access): string {
  if (status !== "CONNECTED") return "";
  if (until === null) return ", through another tab";
  const renewed = renewals === 0 ? "" : renewals === 1 ? ", renewed once" : `, renewed ${renewals} times`;
  return `; access until ${clock(until)}${renewed}`;
}

/**
 * Says why it is not live, that what one sees may be old, and offers to come back; and that somebody else is there by now, whose rows do not
 * come here. Short interruptions are the badge's to tell.
 */
export function ConnectionNotice({ tokens, signIn }: { tokens: TokenSource; signIn?: string }) {
  const { status, error, since, late, reconnect } = useLive();
  const { stranger } = useSyncExternalStore(tokens.subscribe, tokens.read);
  const off = status === "DISCONNECTED";
  const unauthorized = off && error?.code === "unauthorized";
  // Which tab has asked for a token the others do not know, nor what it was told.
  useEffect(() => {
    if (unauthorized) void tokens.look();
  }, [tokens, unauthorized]);

  const reload = (
    <button type="button" onClick={() => location.reload()}>
      Reload
    </button>
  );
  if (stranger) {
    return (
      <div className="notice" data-tone="bad" role="alert">
        <p>
          <strong>{signIn === undefined ? "You are another visitor by now" : "You are signed in as somebody else in another tab"}</strong>: reload.
          What you see here is not theirs, and may be old.
        </p>
        <span className="actions">{reload}</span>
      </div>
    );
  }
  if (!off && !late) return null;
  return (
    <div className="notice" data-tone={off ? "bad" : "wait"} role="alert">
      <p>
        <strong>{off ? "Live updates are off" : status === "CONNECTING" ? "Live updates have not begun" : "Live updates are interrupted"}</strong>
        {error === null ? "." : `: ${reason(error)}.`} {off ? `What you see may be as old as ${clock(since)}.` : "This page tries again by itself."}
      </p>
      <span className="actions">
        {unauthorized && (signIn === undefined ? reload : <a href={signIn}>Sign in again</a>)}
        <button type="button" onClick={reconnect}>
          {off ? "Reconnect" : "Try now"}
        </button>
      </span>
    </div>
  );
}

function reason(error: RealtimeError): string {
  switch (error.code) {
    case "unauthorized":
      return "you are signed out, or your access has ended";
    case "forbidden":
      return "you may not see this any more";
    case "unavailable":
      return "the live server cannot be reached";
    default:
      return error.message;
  }
}

/** Returns how the connection is, since when, and whether it has not been live for longer than anybody would want to be told of. */
function useLive(): Connection & { readonly since: Date; readonly late: boolean } {
  const { status, error, reconnect } = useConnection();
  const late = useLate(status !== "CONNECTED");
  // A client that nobody has listened with yet is off without a reason: it is about to begin.
  const shown = status === "DISCONNECTED" && error === null && !late ? "CONNECTING" : status;
  return { status: shown, error, reconnect, since: useSince(shown), late };
}

/** Returns since when a state has been what it is. */
function useSince(status: Status): Date {
  const [seen, setSeen] = useState({ status, at: new Date() });
  if (seen.status === status) return seen.at;
  const now = { status, at: new Date() };
  setSeen(now);
  return now.at;
}

function useLate(waiting: boolean): boolean {
  const [late, setLate] = useState(false);
  useEffect(() => {
    if (!waiting) return undefined;
    const timer = setTimeout(() => setLate(true), PATIENCE_MS);
    return () => {
      clearTimeout(timer);
      setLate(false);
    };
  }, [waiting]);
  return waiting && late;
}
