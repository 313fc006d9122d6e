// Follows streams of Rowcast with fetch, since an EventSource cannot send an Authorization header.
//
//     for await (const { event, data } of follow(url, token)) …
//
// `token` is asked for one at each connect. Whatever ends a connection, the next goes on after the last id, until `signal`
// is aborted or the loop is left. An answer that will be the same next time is thrown: 400, 403, 404.

const SILENCE_MS = 30_000; // Rowcast sends something every 8 s; a network that has forgotten us sends nothing

export async function* follow(url, token, signal) {
  let last = "";
  let retryMs = 1000;
  for (;;) {
    const connection = new AbortController();
    const abort = () => connection.abort();
    signal?.addEventListener("abort", abort);
    try {
      const headers = { Authorization: `Bearer ${await token()}` };
      if (last) headers["Last-Event-ID"] = last;
      const response = await fetch(url, { headers, signal: connection.signal });
      if ([400, 403, 404].includes(response.status)) throw new Refused((await response.json()).detail);
      if (response.ok) {
        let fields = {};
        for await (const line of lines(response.body, abort)) {
          const [, name, value] = line.match(/^(\w*): ?(.*)$/) ?? [];
          if (name) fields[name] = value;
          if (line !== "" || !fields.data) continue;
          const { id, event, data, retry } = fields;
          fields = {};
          last = id;
          if (retry) retryMs = Number(retry);
          yield { id, event, data: JSON.parse(data) };
        }
      }
    } catch (error) {
      if (error instanceof Refused) throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
      abort();
    }
    if (signal?.aborted) return;
    yield { event: "reconnecting", data: {} };
    await new Promise((resolve) => setTimeout(resolve, retryMs * (0.5 + Math.random())));
  }
}

export class Refused extends Error {}

async function* lines(body, abort) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const silence = setTimeout(abort, SILENCE_MS);
    const { value, done } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}
