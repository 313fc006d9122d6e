/** Times and amounts for people, in their browser's own zone. */

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short" });
const MONTH = new Intl.DateTimeFormat("en-GB", { month: "short" });

export const clock = (date: Date): string => CLOCK.format(date);
export const hour = (date: string | Date): string => HOUR.format(new Date(date));
export const day = (date: string | Date): string => DAY.format(new Date(date));
export const month = (date: string | Date): string => MONTH.format(new Date(date));

export function money(amount: number, currency = "USD"): string {
  const digits = Number.isInteger(amount) ? 0 : 2;
  return new Intl.NumberFormat("en-US", { style: "currency", currency, minimumFractionDigits: digits, maximumFractionDigits: digits }).format(amount);
}
