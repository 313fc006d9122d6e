// What runs in Chromium's pages: its own EventSource, and the one that event-source-polyfill brings.
const CLOSED = 2;

function follow(source, { run, names }) {
  for (const name of names)
    source.addEventListener(name, ({ lastEventId, data }) => say({ run, event: { id: lastEventId, name, data } }));
  source.onopen = () => say({ run, open: true });
  source.onerror = () => say({ run, ...(source.readyState === CLOSED ? { end: "closed" } : { error: "it comes back" }) });
}

function address({ url, lastEventId }) {
  const found = new URL(url);
  if (lastEventId !== null) found.searchParams.set("lastEventId", lastEventId);
  // Of the page's own origin.
  return found.pathname + found.search;
}

window.listen = {
  async chromium(job) {
    // It can send no header: the cookie speaks for it. Where there is none, nothing does.
    await fetch("/auth/session", { method: "POST", headers: { Authorization: `Bearer ${job.token}` } });
    follow(new EventSource(address(job)), job);
  },

  async "event-source-polyfill"(job) {
    follow(new EventSourcePolyfill(address(job), { headers: { Authorization: `Bearer ${job.token}` } }), job);
  },
};
