/** What to look for. */

import { useState } from "react";
import type { ReactNode } from "react";

import { ANY, isNumber } from "./filter";
import type { Filter } from "./filter";
import { STATUS } from "./words";

interface Props {
  readonly filter: Filter;
  readonly places: readonly { readonly city: string; readonly state: string }[];
  readonly onChange: (filter: Filter) => void;
}

export function FilterForm({ filter, places, onChange }: Props) {
  // On a phone the listings come first.
  const [wide] = useState(() => matchMedia("(min-width: 48rem)").matches);
  const active = Object.values(filter).filter((value) => value !== "").length;
  const set = (name: keyof Filter) => (value: string) => onChange({ ...filter, [name]: value });
  const states = [...new Set(places.map(({ state }) => state))].sort();
  const cities = [...new Set(places.filter(({ state }) => filter.state === "" || state === filter.state).map(({ city }) => city))].sort();

  return (
    <details className="panel filters" open={wide}>
      <summary>Filters{active > 0 && <span className="muted"> · {active} set</span>}</summary>
      <form className="search" onSubmit={(event) => event.preventDefault()}>
        <Choice label="City" value={filter.city} onChange={set("city")} options={including(cities, filter.city).map((city) => [city, city])} />
        <Choice label="State" value={filter.state} onChange={set("state")} options={including(states, filter.state).map((state) => [state, state])} />
        <Choice
          label="Status"
          value={filter.status}
          onChange={set("status")}
          options={Object.entries(STATUS).map(([status, { word }]) => [status, word])}
        />
        <Range className="prices" label="Price, $" step={100_000} least={filter.min_price} most={filter.max_price} onLeast={set("min_price")} onMost={set("max_price")} />
        <Range className="units" label="Units" step={10} least={filter.min_units} most={filter.max_units} onLeast={set("min_units")} onMost={set("max_units")} />
        <button type="button" disabled={active === 0} onClick={() => onChange(ANY)}>
          Clear
        </button>
      </form>
    </details>
  );
}

/** A value from the page's address is offered also where no listing has it. */
function including(options: readonly string[], value: string): readonly string[] {
  return value === "" || options.includes(value) ? options : [...options, value];
}

function Choice(props: { label: string; value: string; options: readonly (readonly [string, string])[]; onChange: (value: string) => void }): ReactNode {
  return (
    <label>
      {props.label}
      <select value={props.value} onChange={(event) => props.onChange(event.target.value)}>
        <option value="">Any</option>
        {props.options.map(([value, word]) => (
          <option key={value} value={value}>
            {word}
          </option>
        ))}
      </select>
    </label>
  );
}

interface RangeProps {
  readonly className: string;
  readonly label: string;
  readonly step: number;
  readonly least: string;
  readonly most: string;
  readonly onLeast: (value: string) => void;
  readonly onMost: (value: string) => void;
}

function Range({ className, label, step, least, most, onLeast, onMost }: RangeProps): ReactNode {
  const field = (value: string, placeholder: string, onChange: (value: string) => void) => (
    <input
      type="number"
      inputMode="numeric"
      min="0"
      step={step}
      placeholder={placeholder}
      aria-label={`${label} ${placeholder}`}
      value={value}
      onChange={(event) => onChange(isNumber(event.target.value) ? event.target.value : value)}
    />
  );
  return (
    <fieldset className={`range ${className}`}>
      <legend>{label}</legend>
      {field(least, "from", onLeast)}
      {field(most, "to", onMost)}
    </fieldset>
  );
}
