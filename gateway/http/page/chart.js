/** The delay of each event of the last two minutes, each a dot; the scale is logarithmic, for a slow one must not flatten the rest. */

import { span } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WINDOW_MS = 120_000;
const MOST = 2000;
const [LEFT, RIGHT, TOP, BOTTOM] = [52, 10, 8, 20];
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

export class Chart {
  #svg;
  #dots = [];
  #waiting = false;
  #told;

  /** `told` is called with `{median, longest, count}` of what is shown, or undefined, whenever it is drawn. */
  constructor(svg, told) {
    this.#svg = svg;
    this.#told = told;
    new ResizeObserver(() => this.#soon()).observe(svg);
    // It moves on with the time, unless motion is not wanted: then only with events.
    setInterval(() => !calm.matches && this.#dots.length && this.#soon(), 1000);
    calm.addEventListener("change", () => this.#soon());
  }

  add(at, delay) {
    this.#dots.push({ at, delay });
    if (this.#dots.length > MOST) this.#dots.shift();
    this.#soon();
  }

  clear() {
    this.#dots = [];
    this.#soon();
  }

  #figures() {
    const sorted = this.#dots.map(({ delay }) => delay).sort((one, other) => one - other);
    return sorted.length ? { median: sorted[Math.floor(sorted.length / 2)], longest: sorted.at(-1), count: sorted.length } : undefined;
  }

  #soon() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#draw();
    });
  }

  #draw() {
    const now = Date.now();
    this.#dots = this.#dots.filter(({ at }) => at > now - WINDOW_MS);
    const { clientWidth: width, clientHeight: height } = this.#svg;
    const [right, bottom] = [width - RIGHT, height - BOTTOM];
    const figures = this.#figures();
    const decades = Math.max(2, Math.ceil(Math.log10(Math.max(1, figures?.longest ?? 1))));
    const x = (at) => right - ((now - at) / WINDOW_MS) * (right - LEFT);
    const y = (delay) => bottom - (Math.log10(Math.max(1, delay)) / decades) * (bottom - TOP);
    const parts = [];
    for (let decade = 0; decade <= decades; decade++) {
      parts.push(draw("path", { class: "grid", d: `M${LEFT} ${y(10 ** decade)}H${right}` }));
      parts.push(draw("text", { x: LEFT - 8, y: y(10 ** decade) + 4, "text-anchor": "end" }, label(10 ** decade)));
    }
    for (const [back, said] of [[WINDOW_MS, "2 min ago"], [WINDOW_MS / 2, "1 min"], [0, "now"]]) {
      parts.push(draw("text", { x: x(now - back), y: height - 5, "text-anchor": back === 0 ? "end" : back === WINDOW_MS ? "start" : "middle" }, said));
    }
    if (figures) {
      parts.push(draw("path", { class: "median", d: `M${LEFT} ${y(figures.median)}H${right}` }));
      parts.push(draw("path", { class: "dots", d: this.#dots.map(({ at, delay }) => `M${x(at).toFixed(1)} ${y(delay).toFixed(1)}h0`).join("") }));
    }
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.#svg.setAttribute("aria-label", figures ? told(figures) : "Delay of each event: none in the last two minutes");
    this.#svg.replaceChildren(...parts);
    this.#told(figures);
  }
}

const told = ({ median, longest, count }) =>
  `Delay of the ${count} events of the last two minutes: median ${span(median)}, longest ${span(longest)}`;

const label = (delay) => (delay < 1000 ? `${delay} ms` : `${delay / 1000} s`);

function draw(name, attributes, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}
