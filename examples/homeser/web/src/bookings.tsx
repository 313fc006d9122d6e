/** A customer's or a provider's bookings, and what happens to them. */

import { useRealTimeBookings, useRealTimeNotifications, useRealTimePayments, useRealTimeServices } from "rowcast/react";
import type { Booking, Notification, Payment, Service } from "rowcast/react";

import type { TokenSource } from "../../../web-shared/access";
import { Activity, useActivity } from "../../../web-shared/activity";
import { useFlash } from "../../../web-shared/flash";
import { MISSING } from "../../../web-shared/format";
import { useSend } from "../../../web-shared/send";
import { useToast } from "../../../web-shared/toast";
import { BookingCard } from "./card";
import { Notifications } from "./notifications";
import { rowsOf, useNames } from "./rows";
import { told } from "./words";
import type { Me } from "./words";

const OVER: ReadonlySet<Booking["status"]> = new Set(["completed", "cancelled"]);

/** What the page begins with. */
export interface Initial {
  readonly bookings: readonly Booking[];
  readonly payments: readonly Payment[];
  readonly services: readonly Service[];
  readonly notifications: readonly Notification[];
}

interface Props {
  readonly me: Me;
  readonly role: "customer" | "provider";
  readonly initial: Initial;
  readonly tokens: TokenSource;
}

export function Bookings({ me, role, initial, tokens }: Props) {
  const toast = useToast();
  const [entries, add] = useActivity();
  const [flash, touch] = useFlash();
  const [send] = useSend();

  const { bookings, loading, status } = useRealTimeBookings(me.id, {
    role,
    initial: initial.bookings,
    compare: byStart,
    fetchSnapshot: () => rowsOf<Booking>(tokens, "bookings"),
    onChange: (event) => {
      add(event.id, told(event));
      if (event.change.record !== null) touch(event.change.record.id);
    },
  });
  const { payments } = useRealTimePayments(role === "customer" ? me.id : null, {
    initial: initial.payments,
    fetchSnapshot: () => rowsOf<Payment>(tokens, "payments"),
    onChange: (event) => {
      add(event.id, told(event));
      if (event.change.record !== null) touch(event.change.record.booking_id);
    },
  });
  const { services } = useRealTimeServices({
    initial: initial.services,
    fetchSnapshot: () => rowsOf<Service>(tokens, "services"),
    onChange: (event) => add(event.id, told(event)),
  });
  const { notifications } = useRealTimeNotifications(me.id, {
    initial: initial.notifications,
    fetchSnapshot: () => rowsOf<Notification>(tokens, "notifications"),
    onNotification: ({ title, body }) => toast({ title, body }),
    onChange: (event) => add(event.id, told(event)),
  });
  const nameOf = useNames(
    tokens,
    bookings.map((booking) => (role === "customer" ? booking.provider_id : booking.customer_id)),
  );

  async function move(booking: Booking, next: Booking["status"]): Promise<void> {
    const done = await send("POST", `/api/bookings/${booking.id}/${next}`);
    // What has changed comes by the stream, as it does to everybody else.
    if (done && status !== "CONNECTED") toast({ title: "Done", body: "You will see it here when live updates are back." });
  }

  const card = (booking: Booking) => (
    <BookingCard
      key={booking.id}
      booking={booking}
      service={services.find(({ id }) => id === booking.service_id)?.name ?? `Service ${booking.service_id ?? MISSING}`}
      other={role === "provider" ? `for ${nameOf(booking.customer_id)}` : `with ${booking.provider_id === null ? "nobody yet" : nameOf(booking.provider_id)}`}
      payment={payments.find(({ booking_id }) => booking_id === booking.id)}
      moves={me.moves[booking.status] ?? []}
      flash={flash(booking.id)}
      onMove={(next) => move(booking, next)}
    />
  );
  const open = bookings.filter((booking) => !OVER.has(booking.status));
  const over = bookings.filter((booking) => OVER.has(booking.status));

  return (
    <div className="columns">
      <main aria-busy={loading}>
        <h1>{role === "customer" ? "Your bookings" : "Bookings to serve"}</h1>
        {loading ? (
          <p className="empty" role="status">Loading your bookings …</p>
        ) : bookings.length === 0 ? (
          <p className="empty">There are no bookings yet. The first one appears here by itself.</p>
        ) : (
          <>
            {open.length === 0 ? <p className="empty">Nothing is open.</p> : <ul className="cards">{open.map(card)}</ul>}
            {over.length > 0 && (
              <>
                <h2>Over</h2>
                <ul className="cards">{over.map(card)}</ul>
              </>
            )}
          </>
        )}
      </main>
      <aside>
        <Notifications notifications={notifications} />
        <Activity entries={entries} />
      </aside>
    </div>
  );
}

/** When it begins; what does not say so comes last. */
const start = ({ start_time }: Booking): number => Date.parse(start_time) || Infinity;
const byStart = (a: Booking, b: Booking): number => start(a) - start(b) || a.id - b.id;
