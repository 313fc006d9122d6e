/** How a page begins: it asks its site who is there, and until it knows shows that it does; or why it does not, and a way to try again. */

import { StrictMode } from "react";
import type { ReactNode } from "react";
import { createRoot } from "react-dom/client";

/** Renders the page with what was loaded. */
export function boot<T>(load: () => Promise<T>, page: (loaded: T) => ReactNode): void {
  const element = document.getElementById("root");
  if (element === null) throw new Error("there is no #root in index.html");
  const root = createRoot(element);
  const begin = (): void => {
    root.render(<p className="whole" role="status">Loading …</p>);
    load().then(
      (loaded) => root.render(<StrictMode>{page(loaded)}</StrictMode>),
      (error: Error) => root.render(<Failed error={error} again={begin} />),
    );
  };
  begin();
}

function Failed({ error, again }: { error: Error; again: () => void }) {
  return (
    <main className="whole">
      <h1>This page could not begin</h1>
      <p role="alert">{error.message}</p>
      <button type="button" className="primary" onClick={again}>
        Try again
      </button>
    </main>
  );
}
