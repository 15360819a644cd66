// The dialog that says why: of a node, of a rejoin, of a store.

import { at, element, show } from "./dom.js";
import { read } from "./reads.js";
import { ago, called, condition, count, plain, printable } from "./words.js";

const NAMED = 5; // most peers and rejoins that the explanation of a store names
const WORST = ["PEER_STATE_SUSPECT", "PEER_STATE_OFFLINE"];

export function explainNode(node, store, name) {
  ask(`${called(node, name)} in ${printable(store)}: a rejoin asked for now`, async () =>
    decisions(await read("explain", { node, store, cause: "CAUSE_MANUAL" })));
}

export function explainRejoin(rejoin) {
  ask(`Rejoin ${printable(rejoin)}`, async () => decisions(await read("explain", { rejoin })));
}

export function explainStore(row, how) {
  ask(`${printable(row.store_id)}: ${how}`, () => storeReasons(row));
}

async function ask(title, answer) {
  at("explain-title").textContent = title;
  show(at("explain-body"), element("p", {}, "Asking…"));
  if (!at("explain").open) at("explain").showModal();
  try {
    show(at("explain-body"), ...await answer());
  } catch (error) {
    show(at("explain-body"), element("p", { class: "bad" }, printable(error.message)));
  }
}

function decisions({ explanations = [], rejoins = [] }) {
  const told = explanations.map((one) => element("div", {},
    element("p", {}, element("strong", {}, plain(one.decision?.kind)), ` (${plain(one.cause)}): `,
      printable(reason(one))),
    one.evidence && !one.message?.includes(one.evidence) && element("p", { class: "why" }, printable(one.evidence))));
  const ended = rejoins.map((one) => element("p", {}, `Outcome: ${plain(one.outcome)}${
    one.attempts ? ` after ${count(one.attempts, "attempt")}` : ""}${one.detail ? ": " : ""}`, printable(one.detail)));
  return [...told, ...ended, !told.length && !ended.length && element("p", {}, "Nothing would happen.")];
}

// The message without the decision that stands before it already.
function reason({ decision, message = "" }) {
  const said = `${plain(decision?.kind)}: `;
  return message.startsWith(said) ? message.slice(said.length) : message;
}

// What its state follows from: the sides of a partition, nodes with a condition, peers that are not heard, rejoins.
async function storeReasons(row) {
  const store = row.store_id;
  const [graph, silent, { rejoins = [] }] = await Promise.all([
    read("graph", { store }).catch(() => null),
    Promise.all(WORST.map((state) => read("peers", { store, state, size: NAMED }))),
    read("rejoins", { store, size: NAMED }),
  ]);
  const stalest = row.stalest_age_ms === undefined
    ? "No live peer." : `The stalest live peer was heard ${ago(row.stalest_age_ms)}.`;
  const said = [`${row.attached_count ?? 0} of ${count(row.node_count ?? 0, "node")} attached. ${stalest}`];
  if (graph?.partitioned) said.push(`The live nodes fall apart: ${sides(graph)} have no path to each other.`);
  for (const one of graph?.nodes.filter((node) => node.causes.length).slice(0, NAMED) ?? []) {
    said.push(`${called(one.node_id, one.name)}: ${one.causes.map(condition).join(", ")}.`);
  }
  for (const one of silent.flatMap(({ peers = [] }) => peers).slice(0, NAMED)) {
    said.push(`${printable(one.peer_id)} is ${plain(one.state)}, last heard ${ago(one.heard_age_ms)}.`);
  }
  const newest = rejoins.map((one) => element("li", {}, element("strong", {}, plain(one.outcome)),
    ` ${called(one.node_id, one.node_name)}: `, printable(one.triggers?.[0]?.evidence || one.triggers?.[0]?.reason || one.detail)));
  return [
    element("ul", {}, ...said.map((words) => element("li", {}, words))),
    newest.length > 0 && element("p", {}, "Its newest rejoins:"),
    newest.length > 0 && element("ul", { class: "why" }, ...newest),
  ];
}

function sides(graph) {
  const sizes = new Map();
  for (const one of graph.nodes) sizes.set(one.side, (sizes.get(one.side) ?? 0) + 1);
  const inOrder = [...sizes].sort(([one], [other]) => one - other);
  return `${inOrder.map(([, size]) => size).join(" + ")} nodes`;
}
