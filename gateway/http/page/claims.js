/** A token's claims, decoded here and verified by nobody: that is the gateway's. */

import { brief, parse } from "./json.js";
import { find, make, moment, span } from "./dom.js";

const TIMES = new Set(["exp", "iat", "nbf", "auth_time"]);

/** Finds the token in what was pasted: the token, a header, or a curl line. */
export function tokenIn(text) {
  const found = /eyJ[\w-]*\.[\w-]+\.[\w-]*/.exec(text);
  return found ? found[0] : text.replace(/^\s*(Authorization:)?\s*Bearer\s+/i, "").replace(/\s+/g, "");
}

/** Returns a token's `{header, payload}`. Throws an Error with words for what is none. */
export function decode(token) {
  const parts = token.split(".");
  if (parts.length !== 3) throw new Error("This is no JWT: one has three parts with dots between.");
  const [header, payload] = parts.slice(0, 2).map((part) => {
    try {
      const binary = atob(part.replaceAll("-", "+").replaceAll("_", "/"));
      return parse(new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(binary, (each) => each.charCodeAt(0))));
    } catch {
      throw new Error("This is no JWT: a part of it is no JSON in base64url.");
    }
  });
  return { header, payload };
}

export const rolesOf = (payload) => [payload?.roles ?? payload?.role ?? []].flat();

/** Shows a token's claims, or why it has none, and counts down to its end. Returns the claims. */
export function show(token) {
  const place = find("claims");
  place.hidden = !token;
  if (!token) return undefined;
  try {
    const { header, payload } = decode(token);
    const rows = Object.entries(payload).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, ...written(name, value))));
    place.replaceChildren(
      make("p", { class: "expiry", id: "expiry" }),
      make("dl", { class: "claims" }, ...rows),
      make("p", { class: "note" }, `Header: ${Object.entries(header).map(([name, value]) => `${name} ${brief(value)}`).join(", ")}`),
    );
    count(payload.exp);
    return payload;
  } catch (error) {
    place.replaceChildren(make("p", { class: "bad" }, error.message));
    return undefined;
  }
}

function written(name, value) {
  if (!TIMES.has(name) || typeof value !== "number") return [brief(value)];
  return [moment(value * 1000), make("span", { class: "faint" }, ` ${value}`)];
}

/** Writes how long the token is still good, by this machine's clock. */
export function count(exp) {
  const place = find("expiry");
  if (!place || typeof exp !== "number") return;
  const left = exp * 1000 - Date.now();
  place.className = `expiry ${left <= 0 ? "over" : left < 60_000 ? "soon" : ""}`;
  place.textContent = left > 0 ? `Expires in ${countdown(left)}` : `Expired ${span(-left)} ago`;
}

function countdown(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const [days, hours, minutes] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  const two = (number) => String(number).padStart(2, "0");
  return `${days ? `${days} d ` : ""}${two(hours)}:${two(minutes)}:${two(seconds % 60)}`;
}
