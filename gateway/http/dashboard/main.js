// The page: asks the gateway every second while somebody looks, and shows what it says.

import { Chart } from "./chart.js";
import { CELLS, DiskMap } from "./disk_map.js";
import { CHANGES, History, counter } from "./figures.js";
import { Prices } from "./prices.js";
import { Rows, Terms, made, write } from "./rows.js";
import * as views from "./views.js";
import { Refused, TokenNeeded, ask, hasToken, setToken } from "./wire.js";
import * as words from "./words.js";

/** Milliseconds between two looks, and between two maps at least. */
const [LOOK, MAP] = [1000, 2000];

/** Milliseconds that a map may take. */
const MAP_PATIENCE = 120_000;

/** A map is asked for this many times more seldom than it takes, and after so long in any case. */
const [MAP_SHARE, MAP_ANYWAY] = [10, 30_000];

/** Clients in the table. */
const MOST_CLIENTS = 100;

const at = (id) => document.getElementById(id);

const history = new History();
const rows = {
  exports: new Rows(at("exports"), choose),
  kinds: new Rows(at("kinds")),
  clients: new Rows(at("clients")),
  stores: new Rows(at("stores")),
};
const terms = { glance: new Terms(at("glance")), facts: new Terms(at("facts")) };
const charts = {
  bytes: new Chart(at("bytes-chart"), ["read-line", "write-line"]),
  requests: new Chart(at("requests-chart"), ["read-line", "write-line"]),
};
const diskMap = new DiskMap({
  canvas: at("map"), data: at("map-data"), zero: at("map-zero"), hole: at("map-hole"),
  cell: at("map-cell"),
});
const prices = new Prices(at("price-put"), at("price-get"), at("price-default"), () => show());

/** What was told last, and whose details are shown. */
let summary = null;
let connections = [];
let chosen = null;

/** The export of the map that is shown, what had changed on it by then, and when to ask again. */
const NOTHING = { name: null, changes: null, asked: 0, next: 0 };
let mapped = NOTHING;

let mapping = false;
let timer = null;
let asking = false;

async function look() {
  if (asking || document.hidden) return;
  asking = true;
  clearTimeout(timer);
  let again = true;
  try {
    const told = await Promise.all([ask("v1/summary"), ask("v1/connections")]);
    [summary, { connections }] = told;
    history.add(summary);
    at("token-form").hidden = true;
    show();
    heard();
    lookAtMap();
  } catch (problem) {
    again = !(problem instanceof TokenNeeded);
    if (again) unheard(problem);
    else wantToken();
  } finally {
    asking = false;
  }
  if (again && !document.hidden) timer = setTimeout(look, LOOK);
}

/** Beside everything else: of a disk in many pieces a map takes its time. */
async function lookAtMap() {
  if (mapping) return;
  const exported = summary.exports.find((one) => one.name === chosen);
  if (!exported?.open) {
    diskMap.clear("There is no map while the export is not open.");
    mapped = NOTHING;
    return;
  }
  const { name } = exported;
  const changes = counter("requests", CHANGES)(exported);
  const begun = performance.now();
  if (mapped.name === name) {
    if (begun < mapped.next) return;
    if (changes === mapped.changes && begun < mapped.asked + MAP_ANYWAY) return;
  }
  mapping = true;
  let told = true;
  try {
    const map = await ask(`v1/exports/${encodeURIComponent(name)}/map?cells=${CELLS}`, MAP_PATIENCE);
    if (name === chosen) diskMap.show(map);
  } catch (problem) {
    // Whether anybody answers at all is told by those who ask for the numbers.
    told = problem instanceof Refused;
    if (told && name === chosen) {
      diskMap.clear(`There is no map: ${problem.message}.`);
    }
  } finally {
    mapping = false;
  }
  const end = performance.now();
  const next = end + Math.max(MAP, (end - begun) * MAP_SHARE);
  mapped = told ? { name, changes, asked: begun, next } : NOTHING;
}

function show() {
  if (summary === null) return;
  const running = words.seconds(Math.floor(summary.time - summary.started));
  write(at("about"), `${summary.version}, running for ${running}`);
  const wrong = views.trouble(summary);
  if ([...at("reasons").children].map((one) => one.textContent).join("\n") !== wrong.join("\n")) {
    at("reasons").replaceChildren(...wrong.map((reason) => made("li", reason)));
  }
  at("trouble").hidden = !wrong.length;

  terms.glance.show(views.glance(summary, history, prices.now));
  const lines = views.lines(history);
  const most = { bytes: charts.bytes.draw(lines.bytes), requests: charts.requests.draw(lines.requests) };
  write(at("bytes-most"), `at most ${words.bytes(most.bytes)}/s`);
  write(at("requests-most"), `at most ${words.rate(most.requests)}/s`);

  if (!summary.exports.some((one) => one.name === chosen)) chosen = firstChoice();
  rows.exports.show(views.exportRows(summary, history));
  rows.exports.press(chosen);
  showChosen();

  rows.clients.show(views.clientRows(connections.slice(0, MOST_CLIENTS), summary.time));
  const more = connections.length - MOST_CLIENTS;
  const note = connections.length ? "" : "Nobody is connected.";
  write(at("clients-note"), more > 0 ? `And ${words.count(more)} more.` : note);

  const stores = views.storeRows(summary, prices.now);
  at("store").hidden = !stores.length;
  rows.stores.show(stores);
}

function showChosen() {
  const exported = summary.exports.find((one) => one.name === chosen);
  at("chosen").hidden = !exported;
  if (!exported) return;
  write(at("chosen-title"), exported.name);
  write(at("chosen-description"), exported.description);
  rows.kinds.show(views.kindRows(summary, history, exported));
  terms.facts.show(views.facts(exported));
}

/** A volume if there is one: it has most to tell. */
function firstChoice() {
  const volume = summary.exports.find((one) => one.storage.volume_size_bytes !== undefined);
  return (volume ?? summary.exports[0])?.name ?? null;
}

function choose(name) {
  if (chosen === name) return;
  chosen = name;
  diskMap.clear("");
  mapped = NOTHING;
  show();
  look();
}

// Whether the gateway answers.

function badge(text, good) {
  write(at("state"), text);
  at("state").className = `badge ${good ? "good" : "bad"}`;
}

function heard() {
  badge(summary.ready ? "ready" : "not ready", summary.ready);
  at("silence").hidden = true;
  at("numbers").hidden = false;
  at("numbers").classList.remove("old");
}

function unheard(problem) {
  badge("no answer", false);
  if (!at("silence").hidden) return;
  // Said once, as the moment it began: what is said every second nobody can bear to hear.
  const since = new Date().toLocaleTimeString("en-GB");
  const why = problem instanceof Refused ? ` It said: ${problem.message}.` : "";
  const old = summary ? " The numbers below are from before." : "";
  write(at("silence"), `The gateway has not answered since ${since}.${why}${old}`);
  at("silence").hidden = false;
  at("numbers").classList.add("old");
}

function wantToken() {
  badge("locked", false);
  write(at("token-problem"), hasToken() ? "The gateway did not take this token." : "");
  setToken(null);
  at("silence").hidden = true;
  at("numbers").hidden = true;
  at("token-form").hidden = false;
  at("token").focus();
}

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(at("token").value.trim());
  at("token").value = "";
  look();
});

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  look();
});

look();
