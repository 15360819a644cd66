// Rejoins with their reasons.

import { element, show } from "./dom.js";
import { age, ago, called, plain, printable, short } from "./words.js";

export function drawRejoins(parent, rejoins, explain, empty) {
  if (!rejoins.length) return show(parent, element("li", { class: "note" }, empty));
  return show(parent, ...rejoins.map((one) => row(one, explain)));
}

function row(one, explain) {
  const outcome = plain(one.outcome);
  const last = one.triggers?.at(-1);
  const first = one.triggers?.[0];
  const when = one.ended_age_ms ?? one.started_age_ms ?? one.requested_age_ms ?? 0;
  const proof = one.verified_after_ms !== undefined ? `, verified after ${age(one.verified_after_ms)}` : "";
  const said = first?.evidence || last?.reason || one.detail || "";
  const why = said.startsWith(`${outcome}: `) ? said.slice(outcome.length + 2) : said;
  return element("li", {},
    element("p", { class: "line" },
      element("span", { class: `state ${outcome}` }, outcome),
      element("strong", { class: "id", title: called(one.node_id, one.node_name) }, called(one.node_id, one.node_name, 20)),
      element("span", {}, "in ", element("span", { class: "id", title: printable(one.store_id) }, short(one.store_id, 20))),
      element("span", { class: "cause" }, plain(first?.cause)),
      element("span", { class: "note" }, `${ago(when)}${proof}`),
      element("button", {
        type: "button", "data-key": `rejoin ${one.rejoin_id}`, onclick: () => explain(one.rejoin_id),
        "aria-label": `Explain the rejoin of ${called(one.node_id, one.node_name)} in ${printable(one.store_id)}`,
      }, "Explain")),
    why && !one.detail?.startsWith(why) && element("p", { class: "why" }, printable(why)),
    one.detail && element("p", { class: "why" }, printable(one.detail)));
}
