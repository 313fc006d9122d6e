/**
 * Short notes in a corner, read out when there is time.
 *
 * - They go by themselves, but not while somebody is on one with the pointer or the keyboard.
 * - Where more come at once than fit, the oldest go. Whatever matters also stands on the page.
 */

import { createContext, useCallback, useContext, useEffect, useRef, useState } from "react";
import type { ReactNode } from "react";

const AT_ONCE = 4;
const STAYS_MS = 7000;

export interface Toast {
  readonly title: string;
  readonly body?: string;
  readonly tone?: "bad";
}

const ToastContext = createContext<(toast: Toast) => void>(() => undefined);

/** Returns how to show one. */
export const useToast = (): ((toast: Toast) => void) => useContext(ToastContext);

export function ToastProvider({ children }: { children: ReactNode }) {
  const [toasts, setToasts] = useState<readonly (Toast & { readonly number: number })[]>([]);
  const [held, setHeld] = useState(false);
  const count = useRef(0);

  const show = useCallback((toast: Toast) => {
    const number = (count.current += 1);
    setToasts((now) => [...now, { ...toast, number }].slice(-AT_ONCE));
  }, []);
  const dismiss = useCallback((number: number) => setToasts((now) => now.filter((toast) => toast.number !== number)), []);

  return (
    <ToastContext value={show}>
      {children}
      <ol
        className="toasts"
        aria-label="New"
        aria-live="polite"
        onPointerEnter={() => setHeld(true)}
        onPointerLeave={() => setHeld(false)}
        onFocus={() => setHeld(true)}
        onBlur={() => setHeld(false)}
      >
        {toasts.map((toast) => (
          <Shown key={toast.number} toast={toast} held={held} onGone={() => dismiss(toast.number)} />
        ))}
      </ol>
    </ToastContext>
  );
}

function Shown({ toast, held, onGone }: { toast: Toast; held: boolean; onGone: () => void }) {
  const gone = useRef(onGone);
  useEffect(() => {
    gone.current = onGone;
  });
  useEffect(() => {
    if (held) return undefined;
    const timer = setTimeout(() => gone.current(), STAYS_MS);
    return () => clearTimeout(timer);
  }, [held]);
  return (
    <li className="toast" data-tone={toast.tone}>
      <div>
        <strong>{toast.title}</strong>
        {toast.body !== undefined && <p>{toast.body}</p>}
      </div>
      <button type="button" className="quiet" aria-label={`Dismiss: ${toast.title}`} onClick={onGone}>
        ×
      </button>
    </li>
  );
}
