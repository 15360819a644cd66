// How numbers and names of the contract are said.

export function age(milliseconds) {
  if (milliseconds === undefined || milliseconds === null) return "never";
  const seconds = Math.max(0, Number(milliseconds) / 1000);
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export function ago(milliseconds) {
  return milliseconds === undefined || milliseconds === null ? "never" : `${age(milliseconds)} ago`;
}

const PREFIX = /^(PEER_STATE|REJOIN_OUTCOME|CAUSE|DECISION_KIND|RUNG)_/;
export const plain = (name) => String(name ?? "").replace(PREFIX, "").replaceAll("_", " ").toLowerCase();

// What stands about a node; other causes are said by their names.
const CONDITIONS = {
  OUTBOUND_ROT: "is heard by nobody", INBOUND_ROT: "hears others no more", PARTITION: "is cut off by the partition",
};
export const condition = (cause) => CONDITIONS[cause] ?? plain(cause);

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (count >= 1000 && unit < 3) [count, unit] = [count / 1000, unit + 1];
  return `${count < 10 && unit ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

// Control characters and marks that turn the direction of text are shown as such.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}]/gu;
export function printable(text) {
  return String(text ?? "").replace(HIDDEN, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
}

export function short(id, most = 14) {
  const text = printable(id);
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

// An id behind the name of its node, if it has one.
export const called = (id, name, most = Infinity) => (name ? `${short(name, most)} (${short(id, most)})` : short(id, most));

export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;
