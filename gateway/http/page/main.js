/** The page: what its parts are, and who tells whom. */

import { Admin } from "./admin.js";
import { read, summary, unread } from "./change.js";
import { Chart } from "./chart.js";
import { count, rolesOf, show as showClaims, tokenIn } from "./claims.js";
import { Clock } from "./clock.js";
import { Connection } from "./connection.js";
import { Detail } from "./detail.js";
import { find, make, span, tabs } from "./dom.js";
import { Form } from "./form.js";
import { keep, kept } from "./memory.js";
import { failed, problemOf } from "./problem.js";
import { ask, curl, headers } from "./request.js";
import { EventTable } from "./table.js";

const NO_TOKEN = find("no-streams").textContent;

let token = "";
let claims;
/** Whose stream is open. */
let user;
let streams = [];
let began = 0;
let [events, beats] = [0, 0];

const clock = new Clock();
const chart = new Chart(find("chart"), tellFigures);
const form = new Form({ changed });
const admin = new Admin(() => token);
const views = tabs(find("views"), (view) => admin.look(view));
const detail = new Detail(streamOf);
const table = new EventTable(find("rows"), { selected: (entry) => detail.show(entry), shown: tellShown });
const connection = new Connection({ state: tellState, event: take, unshown: takeUnshown, beat: tellBeat, problem: tellProblem });

// The token, and what it may open

async function use(text) {
  token = tokenIn(text);
  find("token").value = token;
  find("token-part").open = !token;
  remember();
  claims = showClaims(token);
  const open = () => connection.state !== "DISCONNECTED";
  if (open() && claims?.sub !== user) connection.close("This is no token of the same user: the stream that was open is closed.");
  const isAdmin = rolesOf(claims).includes("admin");
  find("views").hidden = find("view-explain").hidden = !isAdmin;
  if (!isAdmin) {
    views.show("view-events");
    detail.views.show("view-diff");
  }
  const asked = token;
  await list();
  if (open() && asked === token) await renew();
}

async function list() {
  tellProblem(undefined);
  const asked = token;
  let found = [];
  if (token) {
    try {
      const sentAt = Date.now();
      const response = await ask("streams", token);
      clock.learn(response, sentAt, Date.now());
      find("clock").textContent = `Delay: this machine’s clock when an event came, minus the time of its commit. ${clock}`;
      if (response.ok) found = (await response.json()).streams;
      else tellProblem(await problemOf(response));
    } catch (error) {
      tellProblem(failed(error));
    }
  }
  if (asked !== token) return;
  streams = found;
  find("no-streams").hidden = found.length > 0;
  find("no-streams").textContent = token ? "None." : NO_TOKEN;
  form.show(found);
}

async function renew() {
  const problem = await connection.renew(token);
  if (problem) tellProblem(problem);
  else if (connection.state === "CONNECTED") find("why").textContent = "The open stream goes on with the newer token.";
  else if (connection.state === "RECONNECTING") find("why").textContent += " Then with the newer token.";
}

const remember = () => keep(token, find("remember").checked);

/** Takes a token, and streams to open at once, from the address, and leaves neither there. What is behind `#` no server sees. */
async function takeLink() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (!given.has("token")) return false;
  history.replaceState(null, "", location.pathname + location.search);
  await use(given.get("token"));
  if (!given.has("streams")) return true;
  form.choose(given.get("streams").split(","));
  if (form.choice().streams.length) connect(form.choice());
  return true;
}

async function begin() {
  if ((await takeLink()) || !kept()) return;
  find("remember").checked = true;
  await use(kept());
}

// The request

function connect(choice) {
  tellProblem(undefined);
  try {
    headers(token, choice.since);
  } catch (error) {
    return tellProblem({ title: "This cannot be asked.", detail: error.message });
  }
  began = Date.now();
  user = claims?.sub;
  connection.open(choice, token);
}

function changed() {
  const choice = form.choice();
  const ready = Boolean(token && choice.streams.length);
  find("connect").disabled = !ready;
  find("copy").disabled = !ready;
  const shortened = token.length > 24 ? `${token.slice(0, 10)}…${token.slice(-6)}` : token;
  find("curl").textContent = ready ? curl(choice, shortened, find("named").checked) : "Choose a stream first.";
  tellButtons();
}

async function copy() {
  const line = curl(form.choice(), token, find("named").checked);
  const said = await navigator.clipboard?.writeText(line).then(() => "Copied", () => undefined);
  if (!said) {
    // Without TLS browsers give no clipboard: then it is there to be copied by hand.
    find("curl-part").open = true;
    find("curl").textContent = line;
    getSelection().selectAllChildren(find("curl"));
  }
  find("copied").textContent = said ?? "Selected: copy it with the keyboard";
  setTimeout(() => (find("copied").textContent = ""), 4000);
}

// What comes

/** Which stream brought an event; one that came by `changes` is rather asked about by its own. */
function streamOf({ event, change }) {
  const stream = streams.find((each) => each.events?.includes(event.name));
  return (stream?.table === "*" && change.body?.table) || (stream?.name ?? event.name);
}

function take(event, receivedAt) {
  const change = read(event);
  const delay = change.committed === undefined ? undefined : receivedAt - clock.ahead - change.committed;
  const replayed = change.committed !== undefined && change.committed + clock.ahead < began;
  tellEvent({ event, change, receivedAt, delay, replayed, summary: summary(event, change) });
  if (delay !== undefined && !replayed) chart.add(receivedAt, delay);
  if (event.name === "ready" && change.body?.status === "fresh") began = receivedAt;
  if (event.name === "auth-expiring") find("why").textContent = "The token ends soon: paste a newer one, and the stream goes on with it.";
}

/** What nothing can be made of is a row too, with its bytes. */
function takeUnshown(event, receivedAt, error) {
  tellEvent({ event, change: unread, receivedAt, replayed: false, summary: `It cannot be shown: ${error.message}` });
}

function tellEvent(entry) {
  events += 1;
  find("events").textContent = String(events);
  find("last-id").textContent = entry.event.id;
  table.add({ number: events, ...entry });
}

function tellFigures(figures) {
  find("median").textContent = figures ? span(figures.median) : "–";
  find("longest").textContent = figures ? span(figures.longest) : "–";
}

function tellBeat() {
  beats += 1;
  find("beats").textContent = String(beats);
}

function tellState(state, why) {
  find("badge").dataset.state = state;
  find("state").textContent = state;
  find("why").textContent = why;
  if (state === "CONNECTED") tellProblem(undefined);
  tellButtons();
}

function tellButtons() {
  find("disconnect").disabled = connection.state === "DISCONNECTED";
  find("resume").disabled = connection.state !== "DISCONNECTED" || !connection.lastId || find("connect").disabled;
}

function tellProblem(problem) {
  find("problem").hidden = !problem;
  find("problem").replaceChildren(...(problem ? [make("b", {}, problem.title), ` ${problem.detail ?? ""}`] : []));
}

function tellShown({ shown, kept, held }) {
  find("empty").hidden = shown > 0;
  find("empty").textContent = kept ? "No event has this text." : "Nothing yet. Choose streams, and connect.";
  const some = shown < kept - held ? `${shown} of ${kept} events` : `${shown} events`;
  find("shown").hidden = kept === 0;
  find("shown").textContent = `${some}, the newest first; the last 500 are kept.${held ? ` ${held} more since the pause.` : ""}`;
}

// Who presses what

find("access").addEventListener("submit", (event) => {
  event.preventDefault();
  use(find("token").value);
});
find("remember").addEventListener("change", remember);
find("request").addEventListener("submit", (event) => {
  event.preventDefault();
  connect(form.choice());
  // In one column what comes is far below.
  if (matchMedia("(max-width: 61.99rem)").matches) find("work").scrollIntoView();
});
find("disconnect").addEventListener("click", () => connection.close());
find("resume").addEventListener("click", () => connect({ ...form.choice(), since: connection.lastId }));
find("named").addEventListener("change", changed);
find("copy").addEventListener("click", copy);
find("search").addEventListener("input", () => table.search(find("search").value));
find("clear").addEventListener("click", () => table.clear());
find("pause").addEventListener("click", () => {
  const paused = find("pause").getAttribute("aria-pressed") !== "true";
  find("pause").setAttribute("aria-pressed", String(paused));
  find("pause").textContent = paused ? "Go on" : "Pause";
  table.pause(paused);
});
find("explain").addEventListener("submit", (event) => {
  event.preventDefault();
  const { entry } = detail;
  const filters = (stream) => form.choice().streams.find(({ name }) => name === stream)?.filters ?? [];
  admin.explain(detail.question(filters), () => detail.entry === entry);
});
// A link that is opened where the console is already changes nothing but what is behind `#`.
addEventListener("hashchange", takeLink);
setInterval(() => count(claims?.exp), 1000);

changed();
tellShown({ shown: 0, kept: 0, held: 0 });
await begin();
