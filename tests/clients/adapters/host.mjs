// One client in Node: `node host.mjs eventsource`. Jobs come in as lines of JSON, and what the client says goes out so.
//
//   in   {"run": 1, "url": "http://…", "token": "…", "lastEventId": null, "profile": "1", "names": ["ready", …]}
//   out  {"run": 1, "open": true}
//        {"run": 1, "event": {"id": "…", "name": "…", "data": "…"}}
//        {"run": 1, "error": "…"}     something is wrong, and it may come back
//        {"run": 1, "end": "closed"}  it never comes back; or "returns", "raises"
import { createInterface } from "node:readline";

const { listen } = await import(`./${process.argv[2]}.mjs`);

for await (const line of createInterface({ input: process.stdin })) {
  const { run, ...job } = JSON.parse(line);
  listen(job, (said) => process.stdout.write(`${JSON.stringify({ run, ...said })}\n`));
}
process.exit(0);
