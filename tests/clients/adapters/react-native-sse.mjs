// React Native has an XMLHttpRequest, Node has none: jsdom's is one, of a page of the gateway's own origin.
import { JSDOM } from "jsdom";
import reactNativeSse from "react-native-sse";
import { headersOf } from "./job.mjs";

// Its file for `import` is one that Node reads as CommonJS.
const EventSource = reactNativeSse.default ?? reactNativeSse;
const pages = new Map();

function requestsOf(origin) {
  if (!pages.has(origin)) pages.set(origin, new JSDOM("", { url: origin }));
  return pages.get(origin).window.XMLHttpRequest;
}

export function listen(job, say) {
  class OfThisOrigin extends EventSource {
    open() {
      globalThis.XMLHttpRequest = requestsOf(new URL(job.url).origin);
      super.open();
    }
  }
  const source = new OfThisOrigin(job.url, { headers: headersOf(job) });
  for (const name of job.names)
    source.addEventListener(name, ({ lastEventId, data }) => say({ event: { id: lastEventId, name, data } }));
  source.addEventListener("open", () => say({ open: true }));
  source.addEventListener("error", (event) => say({ error: String(event.message ?? event.type) }));
}
