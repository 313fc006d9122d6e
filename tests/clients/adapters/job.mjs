// What several adapters share: how a job is asked for, and how an EventSource says what it gets.

export function headersOf({ token, lastEventId }) {
  return { Authorization: `Bearer ${token}`, ...(lastEventId === null ? {} : { "Last-Event-ID": lastEventId }) };
}

// An EventSource has no other way to begin with an id. When it comes back its header wins.
export function addressWithId({ url, lastEventId }) {
  const address = new URL(url);
  if (lastEventId !== null) address.searchParams.set("lastEventId", lastEventId);
  return address.href;
}

export function heard({ lastEventId, type, data }) {
  return { event: { id: lastEventId, name: type, data } };
}

// For all that look like the browser's: readyState 2 is closed for ever.
export function follow(source, names, say) {
  for (const name of names) source.addEventListener(name, (event) => say(heard(event)));
  source.addEventListener("open", () => say({ open: true }));
  source.addEventListener("error", (event) => {
    const error = String(event.message ?? event.error ?? event.code ?? "error");
    say(source.readyState === 2 ? { end: "closed", error } : { error });
  });
}
