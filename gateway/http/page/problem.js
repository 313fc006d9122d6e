/** A refusal, in words: what the status means, what the gateway says of it, and whether coming back may help. */

const WORDS = {
  204: "The gateway asks not to come back.",
  400: "The gateway does not understand this request.",
  401: "The gateway does not accept this token.",
  403: "This token may not do that.",
  404: "The gateway does not have this.",
  405: "The gateway does not do that here.",
  414: "The address is too long.",
  429: "Too many at once.",
  431: "The request’s head is too large.",
  503: "The gateway cannot do that now.",
};
const PASSING = new Set([408, 429, 500, 502, 503, 504]);

/** Reads a response that is not what was asked for: `{status, title, detail, passing, retryMs}`. */
export async function problemOf(response) {
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  let detail = "";
  if (/^application\/(problem\+)?json/.test(response.headers.get("Content-Type") ?? "")) {
    detail = await response.json().then(({ detail, title }) => String(detail ?? title ?? ""), () => "");
  } else if (!response.ok) {
    detail = "The answer is not the gateway’s own: something between here and there gave it.";
  }
  return {
    status: response.status,
    title: WORDS[response.status] ?? (response.ok ? "The answer is no stream of events." : `The answer is ${response.status}.`),
    detail,
    passing: PASSING.has(response.status),
    retryMs: Number.isFinite(seconds) ? seconds * 1000 : undefined,
  };
}

/** What became of a question that could not be asked: fetch has a TypeError for it, and what no header can carry its own words. */
export const failed = (error) => (error instanceof TypeError ? unreachable() : { title: "This cannot be asked.", detail: error.message });

/** What does not get there. */
export const unreachable = () => ({
  status: 0,
  title: "The gateway cannot be reached.",
  detail: "It does not run, or the network does not.",
  passing: true,
});
