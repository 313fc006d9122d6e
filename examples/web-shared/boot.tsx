/**
 * How a page begins: it asks its site who is there, and until it knows shows that it does; or why it does not, and a way to try again.
 * Nor is it blank later: where it cannot go on it says why.
 */

import { Component, StrictMode } from "react";
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
      (loaded) =>
        root.render(
          <StrictMode>
            <Boundary>{page(loaded)}</Boundary>
          </StrictMode>,
        ),
      (error: Error) => root.render(<Broken title="This page could not begin" error={error} action="Try again" onAction={begin} />),
    );
  };
  begin();
}

/** A mistake of the page's own is said, and does not leave it blank. */
class Boundary extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: unknown): { error: Error } {
    return { error: error instanceof Error ? error : new Error(String(error)) };
  }

  override render(): ReactNode {
    const { error } = this.state;
    return error === null ? this.props.children : <Broken title="This page cannot go on" error={error} action="Reload" onAction={() => location.reload()} />;
  }
}

function Broken({ title, error, action, onAction }: { title: string; error: Error; action: string; onAction: () => void }) {
  return (
    <main className="whole">
      <h1>{title}</h1>
      <p role="alert">{error.message}</p>
      <button type="button" className="primary" onClick={onAction}>
        {action}
      </button>
    </main>
  );
}
