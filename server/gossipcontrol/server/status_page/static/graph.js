// The neighbour graph of one store: a circle for each side of a partition.

import { element, shape, show } from "./dom.js";
import { called, condition, count, short } from "./words.js";

const LABELS = 30; // most nodes that have their names beside them
const SIDES = 5; // most sides that are drawn apart; further ones share the last place
const SIDE = { width: 340, height: 320 }; // units of the picture for one side
const NARROW = 560; // pixels of width below which the sides are drawn one below the other

export function drawGraph(parent, store, graph, choose) {
  const sides = [];
  for (const node of graph.nodes) (sides[graph.partitioned ? Math.min(node.side, SIDES - 1) : 0] ??= []).push(node);
  const groups = sides.filter(Boolean);
  const [across, down] = parent.clientWidth < NARROW ? [0, 1] : [1, 0];
  const places = place(groups, across, down);
  const bad = new Map(graph.nodes.filter((one) => one.causes.length).map((one) => [one.node_id, one.causes]));
  const sideOf = new Map(graph.nodes.map((one) => [one.node_id, one.side]));
  // Across a partition nobody hears anybody: the cut says it.
  const near = graph.missing.filter(([one, other]) => !graph.partitioned || sideOf.get(one) === sideOf.get(other));
  const missing = new Set(near.flatMap(([one, other]) => [`${one}\n${other}`, `${other}\n${one}`]));
  const lines = graph.links.map(([one, other]) => link(places, one, other, missing.has(`${one}\n${other}`)));
  const linked = new Set(graph.links.flatMap(([one, other]) => [`${one}\n${other}`, `${other}\n${one}`]));
  const both = new Set(near.map(([one, other]) => `${other}\n${one}`));
  const unheard = near.filter(([one, other]) => !linked.has(`${one}\n${other}`)
    && (one < other || !both.has(`${one}\n${other}`)));
  const few = unheard.length <= LABELS ? unheard : [];
  lines.push(...few.map(([one, other]) => link(places, one, other, true)));
  const width = across ? SIDE.width * groups.length : SIDE.width;
  const height = down ? SIDE.height * groups.length : SIDE.height;
  const cuts = groups.slice(1).map((_, index) => shape("line", across
    ? { x1: SIDE.width * (index + 1), x2: SIDE.width * (index + 1), y1: 8, y2: height - 8, class: "cut" }
    : { x1: 8, x2: width - 8, y1: SIDE.height * (index + 1), y2: SIDE.height * (index + 1), class: "cut" }));
  const dots = graph.nodes.map((node) => dot(places.get(node.node_id), node, graph.nodes.length <= LABELS, () =>
    choose(node.node_id, store, node.name)));
  const what = summary(graph, groups, bad);
  const picture = shape("svg", {
    viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Neighbour graph. ${what.join(". ")}`, class: down ? "graph tall" : "graph",
  }, ...cuts, ...lines.filter(Boolean), ...dots);
  show(parent, picture, element("ul", { class: "legend" },
    element("li", { class: "k-link" }, "neighbours"), element("li", { class: "k-rot" }, "not heard: rotten"),
    element("li", { class: "k-cut" }, "partition")),
  element("ul", { class: "note" }, ...what.map((one) => element("li", {}, one))));
}

function summary(graph, groups, bad) {
  const said = [`${count(graph.total, "node")} report, ${count(graph.links.length, "link")} drawn`];
  if (graph.total > graph.nodes.length) said.push(`the ${graph.nodes.length} nodes with most to say are drawn`);
  if (graph.partitioned) said.push(`partition: ${groups.map((one) => one.length).join(" + ")} nodes have no path`);
  const names = new Map(graph.nodes.map((one) => [one.node_id, one.name]));
  for (const [id, causes] of [...bad].slice(0, 8)) {
    said.push(`${called(id, names.get(id), 14)}: ${causes.map(condition).join(", ")}`);
  }
  return said;
}

function place(groups, across, down) {
  const places = new Map();
  groups.forEach((nodes, group) => {
    const radius = nodes.length === 1 ? 0 : Math.min(130, 60 + nodes.length * 12);
    nodes.sort((one, other) => (one.node_id < other.node_id ? -1 : 1)).forEach((node, index) => {
      const angle = (2 * Math.PI * index) / nodes.length - Math.PI / 2;
      places.set(node.node_id, {
        x: SIDE.width * (across * group + 0.5) + radius * Math.cos(angle),
        y: SIDE.height * (down * group + 0.5) + radius * Math.sin(angle), angle,
      });
    });
  });
  return places;
}

function link(places, one, other, rotten) {
  const from = places.get(one), to = places.get(other);
  if (!from || !to) return null;
  return shape("line", { x1: from.x, y1: from.y, x2: to.x, y2: to.y, class: rotten ? "link rotten" : "link" });
}

// Where the name of a node is: outside of the circle, so no link runs through it.
function labelled({ x, y, angle }) {
  const right = Math.cos(angle);
  if (Math.abs(right) < 0.2) return { x, y: y + (Math.sin(angle) < 0 ? -14 : 24), "text-anchor": "middle" };
  return { x: x + (right > 0 ? 14 : -14), y: y + 4, "text-anchor": right > 0 ? "start" : "end" };
}

function dot(spot, node, named, choose) {
  const ill = node.causes.length > 0;
  const label = named && shape("text", labelled(spot));
  if (label) label.textContent = short(node.name || node.node_id, 9);
  const title = shape("title");
  title.textContent = `${called(node.node_id, node.name)}${ill ? `: ${node.causes.map(condition).join(", ")}` : ""}`;
  const key = (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose();
    }
  };
  return shape("g", {
    class: `node${ill ? " ill" : ""}${node.reports ? "" : " silent"}`, tabindex: "0", role: "button",
    "data-key": `node ${node.node_id}`, "aria-label": `Explain ${title.textContent}`, onclick: choose, onkeydown: key,
  }, title, shape("circle", { cx: spot.x, cy: spot.y, r: named ? 9 : 4 }), label);
}
