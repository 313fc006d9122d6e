/** The page: a head, what concerns the user, and why it is not live when it is not. */

import { useRef } from "react";

import type { TokenSource } from "../../../web-shared/access";
import { ConnectionNotice } from "../../../web-shared/connection";
import { Header } from "../../../web-shared/header";
import { csrf } from "../../../web-shared/site";
import { Changes } from "./changes";
import { Bookings } from "./bookings";
import type { Initial } from "./bookings";
import type { Me } from "./words";

export function App({ me, initial, tokens }: { me: Me; initial: Initial; tokens: TokenSource }) {
  return (
    <>
      <Header name="HomeSer" icon="/static/homeser.svg" tokens={tokens}>
        <SignOut me={me} />
      </Header>
      <ConnectionNotice tokens={tokens} signIn="/accounts/login/" />
      {me.role === "admin" ? <Changes /> : <Bookings me={me} role={me.role} initial={initial} tokens={tokens} />}
    </>
  );
}

/** A form, as Django wants it: signing out is a POST with the CSRF token, of the moment in which it is sent. */
function SignOut({ me }: { me: Me }) {
  const token = useRef<HTMLInputElement>(null);
  const sign = (): void => {
    if (token.current !== null) token.current.value = csrf() ?? "";
  };
  return (
    <form className="who" method="post" action="/accounts/logout/" onSubmit={sign}>
      <input ref={token} type="hidden" name="csrfmiddlewaretoken" />
      <span>
        {me.name} <span className="muted">{me.role}</span>
      </span>
      <button>Sign out</button>
    </form>
  );
}
