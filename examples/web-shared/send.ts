/** Asks the site for something, once at a time; what goes wrong is told in a toast. */

import { useCallback, useState } from "react";

import { ask } from "./site";
import { useToast } from "./toast";

type Ask = (...request: Parameters<typeof ask>) => Promise<boolean>;

/** Returns how to ask, which tells whether it worked, and whether an answer is awaited. */
export function useSend(): readonly [Ask, boolean] {
  const toast = useToast();
  const [busy, setBusy] = useState(false);
  const send: Ask = useCallback(
    async (...request) => {
      setBusy(true);
      try {
        await ask(...request);
        return true;
      } catch (error) {
        toast({ title: "That did not work", body: error instanceof Error ? error.message : String(error), tone: "bad" });
        return false;
      } finally {
        setBusy(false);
      }
    },
    [toast],
  );
  return [send, busy];
}
