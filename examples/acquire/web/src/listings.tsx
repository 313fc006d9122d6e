/** The listings that pass the filter, and those that have just gone. */

import { useCallback, useEffect, useRef } from "react";
import { useRealTimeProperties } from "rowcast/react";
import type { Property } from "rowcast/react";

import { useFlash } from "../../../web-shared/flash";
import { ListingCard } from "./listing";
import { useNotes } from "./notes";
import { told } from "./words";

interface Props {
  readonly filter: string;
  readonly onEvent: (id: string, what: string) => void;
  readonly onClear: () => void;
}

export function Listings({ filter, onEvent, onClear }: Props) {
  // While another filter's rows are on their way the former ones stay, dimmed.
  const shown = useRef<readonly Property[]>([]);
  const find = useCallback((id: string) => shown.current.find((row) => row.id === id), []);
  const [notes, note] = useNotes(filter, find);
  const [flash, touch] = useFlash();

  const { properties, loading, error } = useRealTimeProperties({
    filter,
    compare: byName,
    onChange: (event) => {
      const id = event.change.record?.id ?? event.change.old_record?.id ?? "";
      onEvent(event.id, told(event, find(id)?.name));
      note(event);
      touch(id);
    },
  });
  const rows = loading ? shown.current : properties;
  useEffect(() => {
    shown.current = rows;
  });
  if (rows.length === 0 && loading) return <p className="empty" role="status">Loading listings …</p>;

  const there = new Set(rows.map(({ id }) => id));
  const gone = [...notes.values()].flatMap(({ last }) => (last !== null && !there.has(last.id) ? [last] : []));
  const all = [...rows, ...gone].sort(byName);
  if (all.length === 0) {
    if (error !== null) return <p className="empty">The listings could not be loaded: {error.message}</p>;
    return (
      <p className="empty">
        {filter === "" ? "There are no listings. The first one appears here by itself." : "Nothing matches now. What comes to match appears here by itself."}{" "}
        {filter !== "" && (
          <button type="button" onClick={onClear}>
            Clear filters
          </button>
        )}
      </p>
    );
  }
  return (
    <ul className="cards grid" aria-busy={loading}>
      {all.map((row) => (
        <ListingCard key={row.id} listing={row} note={notes.get(row.id)} novelty={filter === "" ? "New" : "New here"} flash={flash(row.id)} />
      ))}
    </ul>
  );
}

const byName = (a: Property, b: Property): number => (a.name ?? "").localeCompare(b.name ?? "") || a.id.localeCompare(b.id);
