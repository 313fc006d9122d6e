/** The page: a head, what concerns the user, and why it is not live when it is not. */

import type { TokenSource } from "../../../web-shared/access";
import { ConnectionNotice } from "../../../web-shared/connection";
import { Header } from "../../../web-shared/header";
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
      <ConnectionNotice signIn="/accounts/login/" />
      {me.role === "admin" ? <Changes /> : <Bookings me={me} role={me.role} initial={initial} />}
    </>
  );
}

/** A form, as Django wants it: signing out is a POST with the CSRF token. */
function SignOut({ me }: { me: Me }) {
  const csrf = /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie)?.[1];
  return (
    <form className="who" method="post" action="/accounts/logout/">
      <input type="hidden" name="csrfmiddlewaretoken" defaultValue={csrf} />
      <span>
        {me.name} <span className="muted">{me.role}</span>
      </span>
      <button>Sign out</button>
    </form>
  );
}
