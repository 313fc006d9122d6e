/** The head of a page: whose it is, whether it is live, and what else belongs there. */

import type { ReactNode } from "react";

import type { TokenSource } from "./access";
import { ConnectionBadge } from "./connection";

export function Header({ name, icon, tokens, children }: { name: string; icon: string; tokens: TokenSource; children?: ReactNode }) {
  return (
    <header>
      <p className="brand">
        <img src={icon} alt="" width="28" height="28" /> {name}
      </p>
      <ConnectionBadge tokens={tokens} />
      {children}
    </header>
  );
}
