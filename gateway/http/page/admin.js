/** What an admin sees besides: all open connections, the state of the parts, why somebody got an event. The gateway decides who is one. */

import { brieflyAt, bytes, find, make, span } from "./dom.js";
import { problemOf, unreachable } from "./problem.js";
import { ask, condition } from "./request.js";

const EVERY_MS = 10_000;
const TYPING_MS = 300;

export class Admin {
  #token = () => "";
  #view = "";
  #asking = new Set();
  #question = "";
  #typing;
  /** Until when the gateway wants to be left alone. */
  #restsUntil = 0;

  /** `token` returns the one to ask with. */
  constructor(token) {
    this.#token = token;
    find("connections-again").addEventListener("click", () => this.#connections());
    find("connections-of").addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#look(), TYPING_MS);
    });
    setInterval(() => this.#look(), EVERY_MS);
    document.addEventListener("visibilitychange", () => this.#look());
  }

  /** Says which of the views is looked at; it is kept up to date. */
  look(view) {
    this.#view = view;
    this.#look();
  }

  #look() {
    if (!this.#token() || document.hidden || Date.now() < this.#restsUntil) return undefined;
    return { "view-connections": () => this.#connections(), "view-state": () => this.#state() }[this.#view]?.();
  }

  /** Asks, and returns `{body}` or `{problem}`; undefined while the same is being asked. */
  async #ask(path, options) {
    if (this.#asking.has(path)) return undefined;
    this.#asking.add(path);
    try {
      const response = await ask(path, this.#token(), options);
      if (response.ok) return { body: response.status === 204 ? {} : await response.json() };
      const problem = await problemOf(response);
      this.#restsUntil = Math.max(this.#restsUntil, Date.now() + (problem.retryMs ?? 0));
      return { problem };
    } catch {
      return { problem: unreachable() };
    } finally {
      this.#asking.delete(path);
    }
  }

  async #connections() {
    const wanted = () => find("connections-of").value.trim();
    const user = wanted();
    const answer = await this.#ask(`admin/connections${user ? `?sub=${encodeURIComponent(user)}` : ""}`);
    // An answer about somebody else, who is no longer asked about, comes too late.
    if (!answer || user !== wanted()) return;
    const { body, problem } = answer;
    find("connections-note").textContent = problem ? said(problem) : counted(body);
    // A button that has the focus must not go while somebody is about to press it.
    if (problem || find("connections").querySelector("button:focus")) return;
    find("connections").replaceChildren(this.#tableOf(body.connections));
  }

  #tableOf(connections) {
    const heads = ["Connection", "User", "Streams", "State", "Since", "Position", "Address", "Expires", ""];
    return make(
      "table",
      {},
      make("thead", {}, make("tr", {}, ...heads.map((name) => make("th", { scope: "col" }, name || make("span", { class: "unseen" }, "Action"))))),
      make("tbody", {}, ...connections.map((each) => this.#row(each))),
    );
  }

  #row(each) {
    const end = make("button", { type: "button", onclick: () => this.#end(each.connection, end), "aria-label": `Disconnect ${each.connection}` }, "Disconnect");
    return make(
      "tr",
      { "data-connection": each.connection },
      make("td", { class: "id" }, each.connection),
      make("td", {}, each.subject),
      make("td", {}, (each.streams ?? []).join(", "), each.format ? make("span", { class: "faint" }, ` ${each.format}`) : ""),
      make("td", {}, make("span", { class: `type ${each.state === "live" ? "insert" : "update"}` }, each.state)),
      make("td", {}, time(each.since)),
      make("td", { class: "id" }, each.position ?? ""),
      make("td", {}, each.address ?? ""),
      make("td", {}, time(each.expires_at)),
      make("td", {}, end),
    );
  }

  async #end(connection, button) {
    button.disabled = true;
    const answer = await this.#ask(`admin/connections/${connection}`, { method: "DELETE" });
    if (!answer) return;
    find("connections-again").focus();
    await this.#connections();
    const { problem } = answer;
    find("connections-note").textContent = problem ? said(problem) : `${connection} was told to go. It may come back: to keep a user out, revoke their tokens.`;
  }

  async #state() {
    const answer = await this.#ask("admin/state");
    if (!answer) return;
    if (!answer.problem) {
      find("state-note").textContent = "";
      find("components").replaceChildren(...tiles(answer.body));
      return;
    }
    find("state-note").textContent = said(answer.problem);
    // What everybody may know is better than nothing, ready or not.
    const ready = await fetch(new URL("../readyz", import.meta.url), { credentials: "omit" }).then((each) => each.json(), () => ({}));
    find("components").replaceChildren(...tiles(ready));
  }

  /** Asks why a user did or did not get an event, and shows the answer if it is still wanted, and nothing else was asked meanwhile. */
  async explain({ sub, stream, id, role, filters }, stillWanted) {
    const query = new URLSearchParams({ sub, stream, id, ...(role && { role }) });
    for (const filter of filters) query.append("filter", `${filter.column}=${condition(filter)}`);
    const question = (this.#question = String(query));
    const answer = await this.#ask(`admin/explain?${question}`);
    if (!answer || question !== this.#question || !stillWanted()) return;
    const { body, problem } = answer;
    if (problem) return find("verdict").replaceChildren(make("p", { class: "bad" }, said(problem)));
    const steps = (body.steps ?? []).map(({ check, holds, detail }) =>
      make("li", { class: holds ? "holds" : "fails" }, make("b", {}, `${holds ? "✓" : "✗"} ${check}`), ` ${detail ?? ""}`),
    );
    find("verdict").replaceChildren(make("p", { class: "verdict" }, make("b", {}, body.verdict), ` ${body.because ?? ""}`), make("ol", {}, ...steps));
  }
}

const said = ({ status, title, detail }) => (status === 404 ? "This gateway does not tell that." : `${title} ${detail}`);

const time = (text) => (text ? brieflyAt(Date.parse(text)) : "");

function counted({ connections, processes, complete, truncated }) {
  const count = connections.length === 1 ? "1 connection" : `${connections.length} connections`;
  const missing = complete === false ? " Not every process has answered." : "";
  return `${count}${processes ? ` in ${processes === 1 ? "1 process" : `${processes} processes`}` : ""}.${truncated ? " There are more." : ""}${missing}`;
}

const seconds = (value) => (value === undefined || value === null ? "–" : span(value * 1000));

function tiles({ components = {}, bridge = {}, outbox, redis = {}, postgres = {}, streams = {}, processes }) {
  const figures = {
    web: [["processes", processes ?? "–"]],
    bridge: [["behind", bridge.lag_positions ?? "–"], ["lag", seconds(bridge.lag_seconds)], ["last heard", seconds(bridge.silent_seconds)], ["position", bridge.position ?? "–"], ["head", bridge.head ?? "–"]],
    outbox: [["waiting", outbox?.depth ?? "–"], ["oldest", outbox?.depth ? seconds(outbox.oldest_seconds) : "–"]],
    redis: [["memory", redis.memory_bytes == null ? "–" : bytes(redis.memory_bytes)]],
    postgres: [],
    listeners: Object.entries(streams),
  };
  const well = { ...components, ...(redis.up === false && { redis: "down" }), ...(postgres.up === false && { postgres: "down" }) };
  return ["web", "bridge", "outbox", "redis", "postgres", "listeners"].map((name) => tile(name, well[name], figures[name]));
}

const tile = (name, state, figures) =>
  make(
    "section",
    { class: "card tile", "data-state": state },
    make("h2", {}, name),
    state ? make("p", { class: `type ${state === "up" ? "insert" : "delete"}` }, state) : "",
    make("dl", {}, ...figures.flatMap(([what, value]) => [make("dt", {}, what), make("dd", {}, String(value))])),
  );
