/** Times and amounts for people, in their browser's own zone. A row that was too large to be sent has only its key. */

/** What stands for whatever a row does not have. */
export const MISSING = "…";

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });
const DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric" });
const MONTH = new Intl.DateTimeFormat("en-GB", { month: "short" });

export const clock = (time: Date): string => CLOCK.format(time);
export const hour = (time: string | undefined): string => written(HOUR, time);
export const day = (time: string | undefined): string => written(DAY, time);
export const date = (time: string | undefined): string => written(DATE, time);
export const month = (time: string | undefined): string => written(MONTH, time);

function written(format: Intl.DateTimeFormat, time: string | undefined): string {
  const read = new Date(time ?? NaN);
  return Number.isNaN(read.getTime()) ? MISSING : format.format(read);
}

export function money(amount: number | undefined, currency = "USD"): string {
  if (amount === undefined) return MISSING;
  const digits = Number.isInteger(amount) ? 0 : 2;
  return new Intl.NumberFormat("en-US", { style: "currency", currency, minimumFractionDigits: digits, maximumFractionDigits: digits }).format(amount);
}
