/** One booking: when, what, with whom, how it stands, and what can be made of it. */

import { useRef, useState } from "react";
import type { Booking, Payment } from "rowcast/react";

import { Badge, stateOf } from "../../../web-shared/badge";
import { date, day, hour, money, month } from "../../../web-shared/format";
import { BOOKING, PAYMENT } from "./words";

interface Props {
  readonly booking: Booking;
  readonly service: string;
  readonly other: string;
  readonly payment: Payment | undefined;
  readonly moves: readonly Booking["status"][];
  readonly flash: string;
  readonly onMove: (next: Booking["status"]) => Promise<void>;
}

export function BookingCard({ booking, service, other, payment, moves, flash, onMove }: Props) {
  const card = useRef<HTMLElement>(null);
  const [busy, setBusy] = useState(false);
  const { word, tone } = stateOf(BOOKING, booking.status);
  const paid = payment && stateOf(PAYMENT, payment.status);
  const name = `booking-${booking.id}`;

  async function move(next: Booking["status"]): Promise<void> {
    setBusy(true);
    await onMove(next);
    setBusy(false);
    // The button that was pressed is about to go, and the keyboard must not be lost with it.
    card.current?.focus();
  }

  return (
    <li>
      <article ref={card} className={`card booking ${flash}`} aria-labelledby={name} data-booking={booking.id} data-status={booking.status} tabIndex={-1}>
        <p className="leaf" aria-hidden="true">
          {month(booking.start_time)} <b>{date(booking.start_time)}</b>
        </p>
        <div className="what">
          <h3 id={name}>{service}</h3>
          <p>
            <time dateTime={booking.start_time}>
              {day(booking.start_time)}, {hour(booking.start_time)}–{hour(booking.end_time)}
            </time>
          </p>
          <p className="muted">
            {other} · No. {booking.id}
          </p>
          {booking.notes && <p className="note">{booking.notes}</p>}
        </div>
        <p className="badges">
          <Badge tone={tone}>{word}</Badge>
          {paid && (
            <Badge tone={paid.tone}>
              {paid.word} {money(payment.amount, payment.currency)}
            </Badge>
          )}
        </p>
        {moves.length > 0 && (
          <p className="actions">
            {[...moves].sort(cancelLast).map((next) => (
              <button
                key={next}
                type="button"
                className={next === "cancelled" ? "" : "primary"}
                disabled={busy}
                aria-describedby={name}
                onClick={() => void move(next)}
              >
                {stateOf(BOOKING, next).step ?? next}
              </button>
            ))}
          </p>
        )}
      </article>
    </li>
  );
}

const cancelLast = (a: string, b: string): number => Number(a === "cancelled") - Number(b === "cancelled");
