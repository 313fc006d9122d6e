/** One word on a colour. The word says everything, the colour only says it sooner. */

import type { ReactNode } from "react";

import { MISSING } from "./format";

export type Tone = "wait" | "go" | "busy" | "good" | "off" | "bad";

/** Returns what is known of a state: one that is unknown is shown as it is. */
export function stateOf<T extends { readonly word: string; readonly tone: Tone }>(
  states: Readonly<Record<string, T>>,
  state: string | undefined,
): Partial<T> & { readonly word: string; readonly tone: Tone } {
  const known = state !== undefined && Object.hasOwn(states, state) ? states[state] : undefined;
  return known ?? ({ word: state ?? MISSING, tone: "off" } as Partial<T> & { readonly word: string; readonly tone: Tone });
}

export function Badge({ tone, children }: { tone: Tone; children: ReactNode }) {
  return (
    <span className="badge" data-tone={tone}>
      {children}
    </span>
  );
}
