/** One word on a colour. The word says everything, the colour only says it sooner. */

import type { ReactNode } from "react";

export type Tone = "wait" | "go" | "busy" | "good" | "off" | "bad";

export function Badge({ tone, children }: { tone: Tone; children: ReactNode }) {
  return (
    <span className="badge" data-tone={tone}>
      {children}
    </span>
  );
}
