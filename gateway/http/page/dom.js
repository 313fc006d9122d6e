/** Elements, and how times and figures are written. Text is never markup. */

export const find = (id) => document.getElementById(id);

/** Makes an element: `make("td", {class: "number", onclick}, "text", another)`. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== ""));
  return element;
}

/** Writes a span of milliseconds: 12 ms, 1.4 s, 3 min, 2 h, 5 d. */
export function span(milliseconds) {
  const size = Math.abs(milliseconds);
  if (size > 0 && size < 10) return `${milliseconds.toFixed(1)} ms`;
  if (size < 1000) return `${Math.round(milliseconds)} ms`;
  if (size < 10_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  if (size < 120_000) return `${Math.round(milliseconds / 1000)} s`;
  if (size < 7_200_000) return `${Math.round(milliseconds / 60_000)} min`;
  if (size < 172_800_000) return `${Math.round(milliseconds / 3_600_000)} h`;
  return `${Math.round(milliseconds / 86_400_000)} d`;
}

/** Writes the time of day of a moment, to the millisecond. */
export function clock(milliseconds) {
  const date = new Date(milliseconds);
  const [hours, minutes, seconds] = [date.getHours(), date.getMinutes(), date.getSeconds()].map((each) => String(each).padStart(2, "0"));
  return `${hours}:${minutes}:${seconds}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** Writes a moment of today as its time, another with its day. */
export const brieflyAt = (milliseconds) =>
  new Date(milliseconds).toDateString() === new Date().toDateString() ? clock(milliseconds).slice(0, 8) : moment(milliseconds);

/** Writes a moment with its day. */
export const moment = (milliseconds) =>
  new Date(milliseconds).toLocaleString([], { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });

export function bytes(count) {
  if (count < 1000) return `${count} bytes`;
  return count < 1_000_000 ? `${(count / 1000).toFixed(1)} kB` : `${(count / 1_000_000).toFixed(1)} MB`;
}

/** Wires a tab list: one tab is in the order of focus, the arrow keys choose. `chosen` is called with the id of each that is shown. */
export function tabs(list, chosen = () => {}) {
  const all = [...list.querySelectorAll("[role=tab]")];
  const show = (tab, focus = false) => {
    for (const each of all) {
      each.setAttribute("aria-selected", String(each === tab));
      each.tabIndex = each === tab ? 0 : -1;
      find(each.getAttribute("aria-controls")).hidden = each !== tab;
    }
    if (focus) tab.focus();
    chosen(tab.id);
  };
  list.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) show(tab);
  });
  list.addEventListener("keydown", (event) => {
    const there = all.filter((each) => !each.hidden);
    const at = there.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: there.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    show(there[(to + there.length) % there.length], true);
  });
  show(all.find((each) => each.getAttribute("aria-selected") === "true"));
  return { show: (id) => show(find(id)) };
}
