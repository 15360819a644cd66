// The peers of one store: any number, of which only the visible rows are drawn and asked for their ages.

import { element, show } from "./dom.js";
import { ago, called, count, plain, printable } from "./words.js";
import { read } from "./reads.js";

const ROW = 40; // height in pixels, as in app.css
const ORDER = ["SUSPECT", "OFFLINE", "UNKNOWN", "ONLINE", "ASLEEP", "LEFT"].map((one) => `PEER_STATE_${one}`);
const ASK = 100; // most rows of one read

export class Peers {
  constructor(parent, explain) {
    this.explain = explain;
    this.states = new Map(); // id -> state
    this.rows = []; // [id, state], worst first
    this.seen = new Map(); // id -> {age, at, observers} of visible rows
    this.summary = element("p", { class: "note" });
    this.body = element("div", { role: "rowgroup", class: "rows" });
    const heads = ["Presence", "Peer", "Last heard", "Heard by", "Why"].map((name) =>
      element("span", { role: "columnheader" }, name));
    this.table = element("div", { role: "table", "aria-label": "Peers", class: "virtual", tabindex: "0" },
      element("div", { role: "rowgroup", class: "head" }, element("div", { role: "row", class: "row" }, ...heads)),
      this.body);
    this.table.addEventListener("scroll", () => this.draw());
    show(parent, this.summary, this.table);
    this.reset("");
  }

  reset(store) {
    this.store = store;
    this.states.clear();
    this.seen.clear();
    this.table.scrollTop = 0;
    this.changed();
  }

  take({ peers, removed, delta }) {
    if (!delta) this.states.clear();
    for (const [id, state] of peers) this.states.set(id, state);
    for (const id of removed) this.states.delete(id);
    this.changed();
  }

  changed() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      const by = new Map(ORDER.map((state) => [state, []]));
      for (const [id, state] of this.states) (by.get(state) ?? by.get("PEER_STATE_UNKNOWN")).push(id);
      this.rows = ORDER.flatMap((state) => by.get(state).sort().map((id) => [id, state]));
      const said = ORDER.filter((state) => by.get(state).length).map((state) => `${by.get(state).length} ${plain(state)}`);
      this.summary.textContent = this.store
        ? `${count(this.rows.length, "peer")} of ${printable(this.store)}${said.length ? `: ${said.join(", ")}` : ""}`
        : "Choose a store.";
      this.table.hidden = !this.rows.length;
      this.table.setAttribute("aria-rowcount", this.rows.length + 1);
      this.body.style.height = `${this.rows.length * ROW}px`;
      this.draw();
      this.refresh();
    });
  }

  visible() {
    const first = Math.max(0, Math.floor(this.table.scrollTop / ROW) - 4);
    return [first, Math.min(this.rows.length, first + Math.ceil(this.table.clientHeight / ROW) + 8)];
  }

  draw() {
    const [first, last] = this.visible();
    const made = this.rows.slice(first, last).map(([id, state], place) => {
      const seen = this.seen.get(id);
      const heard = seen?.age === undefined ? (seen ? "never" : "…") : ago(Number(seen.age) + performance.now() - seen.at);
      const row = element("div", { role: "row", class: "row", "aria-rowindex": first + place + 2 },
        element("span", { role: "cell", class: `state ${plain(state)}` }, plain(state)),
        element("span", { role: "cell", class: "id", title: called(id, seen?.name) }, called(id, seen?.name)),
        element("span", { role: "cell" }, heard),
        element("span", { role: "cell" }, seen ? count(seen.observers, "node") : ""),
        element("span", { role: "cell" }, element("button", {
          type: "button", "data-key": `peer ${id}`, "aria-label": `Explain ${called(id, seen?.name)}`,
          onclick: () => this.explain(id, this.store, seen?.name),
        }, "Explain")));
      row.style.top = `${(first + place) * ROW}px`;
      return row;
    });
    show(this.body, ...made);
  }

  // Ask for the true ages of the visible rows: they are in the order of the service within each state.
  async refresh() {
    if (this.asking || !this.store || document.hidden) return;
    this.asking = true;
    const store = this.store, [first, last] = this.visible();
    try {
      for (let from = first; from < last;) {
        const state = this.rows[from]?.[1];
        let to = from;
        while (to < last && this.rows[to]?.[1] === state && to - from < ASK) to += 1;
        if (to === from) break;
        const before = this.rows[from - 1];
        const after = before && before[1] === state ? before[0] : "";
        const { peers = [] } = await read("peers", { store, state, after, size: to - from });
        for (const one of peers) {
          this.seen.set(one.peer_id, {
            age: one.heard_age_ms, at: performance.now(), observers: one.observers ?? 0, name: one.name,
          });
        }
        from = to;
      }
    } catch { /* the state of the connection is shown elsewhere */ } finally {
      this.asking = false;
    }
    if (this.seen.size > 2000) this.seen.clear();
    if (store === this.store) this.draw();
  }
}
