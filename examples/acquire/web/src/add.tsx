/** Puts up another listing. */

import type { FormEvent } from "react";

import { useSend } from "../../../web-shared/send";

export function AddListing() {
  const [send, busy] = useSend();

  async function add(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault();
    const form = event.currentTarget;
    const given = Object.fromEntries(new FormData(form)) as Record<string, string>;
    if (await send("POST", "/api/listings", { ...given, price: Number(given["price"]), units: Number(given["units"]) })) form.reset();
  }

  return (
    <details className="panel filters">
      <summary>Add a listing</summary>
      <form onSubmit={(event) => void add(event)}>
        <label>
          Name <input name="name" required maxLength={100} />
        </label>
        <label>
          City <input name="city" required maxLength={60} />
        </label>
        <label>
          State <input name="state" required pattern="[A-Z]{2}" maxLength={2} placeholder="TX" title="Two capital letters" />
        </label>
        <label>
          Price, $ <input name="price" type="number" inputMode="numeric" min="0" required />
        </label>
        <label>
          Units <input name="units" type="number" inputMode="numeric" min="0" required />
        </label>
        <button className="primary" disabled={busy}>
          Add
        </button>
      </form>
    </details>
  );
}
