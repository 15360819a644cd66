// The page: what is read when, and where it is shown.

import { at, element, show } from "./dom.js";
import { explainNode, explainRejoin, explainStore } from "./explain.js";
import { drawGraph } from "./graph.js";
import { Peers } from "./peers.js";
import { follow, read } from "./reads.js";
import { drawRejoins } from "./rejoins.js";
import { age, ago, bytes, count, plain, printable } from "./words.js";

const EVERY = 2000; // milliseconds between two looks
const state = { store: "", stores: [], after: "", pages: 1, warnings: [], overview: null, live: "", stop: null };
const peers = new Peers(at("peers"), explainNode);

function theme(name) {
  document.documentElement.dataset.theme = name;
  at("theme").textContent = name === "dark" ? "Light" : "Dark";
  at("theme").setAttribute("aria-label", `Change to ${name === "dark" ? "light" : "dark"} colours`);
}

function chooseTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  theme(localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => localStorage.getItem("theme") ?? theme(dark.matches ? "dark" : "light"));
  at("theme").addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", next);
    theme(next);
  });
}

// What is wrong, worst first.
function drawAttention() {
  const found = state.warnings.map((words) => ["bad", words]);
  const { overview } = state;
  if (overview?.obstacle) found.push(["bad", `The service is not ready: ${overview.obstacle}`]);
  for (const one of state.stores) {
    const of = Object.fromEntries((one.peer_counts ?? []).map((row) => [plain(row.state), row.count]));
    const name = printable(one.store_id);
    if (one.partitioned) found.push(["bad", `${name} is partitioned: its live nodes fall apart`, one.store_id]);
    else if (one.troubled_count) found.push(["warn", `${name} has ${count(one.troubled_count, "node")} in trouble`, one.store_id]);
    if (of.suspect) found.push(["warn", `${name} has ${count(of.suspect, "suspect")}`, one.store_id]);
  }
  if (overview?.counts.parked) found.push(["warn", `${count(overview.counts.parked, "rejoin")} parked: no agent is attached`]);
  if (overview?.pairs_unsynced) found.push(["warn", `${count(overview.pairs_unsynced, "pair")} overdue for a direct sync`]);
  const rows = found.slice(0, 12).map(([kind, words, store]) => element("li", { class: kind },
    store === undefined ? printable(words)
      : element("button", { type: "button", "data-key": `attend ${store}`, onclick: () => choose(store) }, words)));
  if (found.length > 12) rows.push(element("li", { class: "note" }, `and ${found.length - 12} more`));
  show(at("attention"), ...(rows.length ? rows : [element("li", { class: "good" }, "Nothing.")]));
}

function drawOverview() {
  const { overview } = state, ready = overview && !overview.obstacle;
  at("health").textContent = !overview ? "not reachable" : ready ? (state.live || "ready, live") : "not ready";
  at("health").className = `chip ${ready && !state.live ? "good" : "bad"}`;
  if (!overview) return;
  const { counts, memory, connections } = overview;
  const { replicas } = overview;
  const several = replicas ? `, owner of epoch ${replicas.epoch} with ${replicas.standbys} standing by` : "";
  at("about").textContent = `version ${overview.version}, up ${age(overview.uptime_seconds * 1000)}${several}`;
  const tiles = [
    ["Agents", `${counts.attached} of ${counts.nodes}`], ["Stores", counts.stores], ["Peers online", overview.peers.ONLINE],
    ["Suspect", overview.peers.SUSPECT], ["Partitions", overview.partitioned], ["Rejoins running", counts.running],
    ["Waiting", counts.queued], ["Parked", counts.parked],
    ["Memory", `${bytes(memory.used)} of ${bytes(memory.limit)}`], ["Subscriptions", connections.presence_subscriptions],
  ];
  show(at("fleet"), ...tiles.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, String(value)))));
}

function drawStores() {
  const heads = ["Store", "Nodes", "Online", "Not heard", "Stalest", "State", "Why"];
  const rows = state.stores.map((one) => {
    const of = Object.fromEntries((one.peer_counts ?? []).map((row) => [plain(row.state), row.count]));
    const away = (of.suspect ?? 0) + (of.offline ?? 0);
    const how = one.partitioned ? "partitioned" : of.suspect ? "suspect" : one.rejoins_running ? "repairing"
      : one.troubled_count ? "in trouble" : "whole";
    return element("tr", { class: one.store_id === state.store ? "chosen" : "" },
      element("th", { scope: "row" }, element("button", {
        type: "button", class: "id", "data-key": `store ${one.store_id}`, title: printable(one.store_id),
        "aria-pressed": String(one.store_id === state.store), onclick: () => choose(one.store_id),
      }, printable(one.store_id))),
      element("td", {}, `${one.attached_count ?? 0} of ${one.node_count ?? 0}`), element("td", {}, String(of.online ?? 0)),
      element("td", {}, String(away)), element("td", {}, one.stalest_age_ms === undefined ? "–" : ago(one.stalest_age_ms)),
      element("td", {}, element("span", { class: `state ${how.replaceAll(" ", "-")}` }, how)),
      element("td", {}, element("button", {
        type: "button", "data-key": `why ${one.store_id}`, "aria-label": `Explain the store ${printable(one.store_id)}`,
        onclick: () => explainStore(one, how),
      }, "Explain")));
  });
  const table = element("table", {},
    element("thead", {}, element("tr", {}, ...heads.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows));
  show(at("stores"), rows.length ? table : element("p", { class: "note" }, "No agent has attached yet."));
  at("more-stores").hidden = !state.after;
}

async function readStores() {
  let after = "", stores = [];
  for (let page = 0; page < state.pages; page += 1) {
    const answer = await read("stores", { after });
    if (!page) state.warnings = answer.warnings ?? [];
    stores = stores.concat(answer.stores ?? []);
    after = answer.next_page_token ?? "";
    if (!after) break;
  }
  [state.stores, state.after] = [stores, after];
  if (!state.store && stores.length) {
    choose((stores.find((one) => one.partitioned) ?? stores[0]).store_id);
  }
}

async function readGraph() {
  const { store } = state;
  if (!store) return;
  try {
    const graph = await read("graph", { store });
    if (store === state.store) drawGraph(at("graph"), store, graph, explainNode);
  } catch (error) {
    show(at("graph"), element("p", { class: "note" }, printable(error.message)));
  }
}

async function readParked() {
  const { rejoins = [] } = await read("rejoins", { outcome: "REJOIN_OUTCOME_PARKED", size: 20 });
  drawRejoins(at("parked"), rejoins, explainRejoin, "Nothing is parked.");
}

function choose(store) {
  state.stop?.();
  state.store = store;
  history.replaceState(null, "", `#${new URLSearchParams({ store })}`);
  peers.reset(store);
  show(at("graph"));
  drawStores();
  state.stop = follow(store, {
    peers: (update) => peers.take(update),
    rejoins: ({ rejoins = [] }) => drawRejoins(at("rejoins"), rejoins, explainRejoin, "No rejoin yet."),
    ended: ({ why }) => { state.live = why; },
    state: (words) => { state.live = words; drawOverview(); },
  });
  readGraph();
}

async function look() {
  if (!document.hidden) {
    try {
      state.overview = await read("overview");
      await readStores();
      drawStores();
      await Promise.all([readGraph(), readParked()]);
    } catch {
      state.overview = null;
    }
    drawOverview();
    drawAttention();
  }
  setTimeout(look, EVERY);
}

chooseTheme();
state.store = new URLSearchParams(location.hash.slice(1)).get("store") ?? "";
if (state.store) choose(state.store);
at("more-stores").addEventListener("click", () => { state.pages += 1; });
setInterval(() => peers.refresh(), 1000);
look();
