/** One listing: what it is, what it costs and has cost, and what anybody may do with it. */

import type { Property } from "rowcast/react";

import { Badge, stateOf } from "../../../web-shared/badge";
import { MISSING, money } from "../../../web-shared/format";
import { useSend } from "../../../web-shared/send";
import type { Note } from "./notes";
import { STATUS } from "./words";

interface Props {
  readonly listing: Property;
  readonly note: Note | undefined;
  /** What a listing is called that was not here before. */
  readonly novelty: string;
  readonly flash: string;
}

export function ListingCard({ listing, note, novelty, flash }: Props) {
  const { word, tone } = stateOf(STATUS, listing.status);
  const gone = note?.kind === "gone" || note?.kind === "left";
  const name = `listing-${listing.id}`;
  return (
    <li>
      <article className={`card listing ${flash}`} aria-labelledby={name} data-listing={listing.id} data-note={note?.kind}>
        <p className="badges">
          {gone ? <Badge tone="off">{note.kind === "left" ? "No longer matches" : "Removed"}</Badge> : <Badge tone={tone}>{word}</Badge>}
          {note?.kind === "new" && <Badge tone="go">{novelty}</Badge>}
        </p>
        <h2 id={name}>{listing.name ?? MISSING}</h2>
        <p className="muted">
          {listing.city ?? MISSING}, {listing.state ?? MISSING} · {listing.units ?? MISSING} units
        </p>
        <Price now={listing.price} was={note?.was ?? null} />
        {!gone && <Actions listing={listing} described={name} />}
      </article>
    </li>
  );
}

/** The price, and where it has changed in which direction, by how much, and from what. */
function Price({ now, was }: { now: number | undefined; was: number | null }) {
  if (was === null || now === undefined) return <p className="price">{money(now)}</p>;
  const up = now > was;
  const share = was === 0 ? "" : `${Math.abs(((now - was) / was) * 100).toFixed(1)} %`;
  return (
    <p className="price" data-direction={up ? "up" : "down"}>
      {money(now)}{" "}
      <small>
        <span aria-hidden="true">{up ? "▲" : "▼"}</span>
        <span className="unseen">{up ? "up" : "down"}</span> {share} <span className="was">from {money(was)}</span>
      </small>
    </p>
  );
}

function Actions({ listing, described }: { listing: Property; described: string }) {
  const [send, busy] = useSend();
  const { next } = stateOf(STATUS, listing.status);
  const priceless = listing.price === undefined;
  const path = `/api/listings/${listing.id}`;
  const reprice = (factor: number) => send("PATCH", path, { price: Math.round(listing.price * factor) });

  return (
    <p className="actions">
      <button type="button" disabled={busy || priceless} aria-describedby={described} aria-label="Lower the price by 2 %" onClick={() => void reprice(0.98)}>
        −2 %
      </button>
      <button type="button" disabled={busy || priceless} aria-describedby={described} aria-label="Raise the price by 2 %" onClick={() => void reprice(1.02)}>
        +2 %
      </button>
      {next !== undefined && (
        <button type="button" disabled={busy} aria-describedby={described} onClick={() => void send("PATCH", path, { status: next })}>
          <span className="unseen">Make it</span>
          <span aria-hidden="true">→</span> {STATUS[next].word.toLowerCase()}
        </button>
      )}
      <button type="button" disabled={busy} className="quiet remove" aria-label="Remove" aria-describedby={described} onClick={() => void send("DELETE", path)}>
        ×
      </button>
    </p>
  );
}
