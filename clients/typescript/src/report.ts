// Tells GossipControl what happened to this device: node dist/report.js ADDRESS NODE KIND SECONDS.

import { DecisionKindSchema } from "./gen/gossipcontrol/v1/decision_pb.js";
import { NetworkChangeKind, Platform } from "./gen/gossipcontrol/v1/gossip_control_pb.js";
import { Reporter } from "./client.js";
import { servers } from "./transport.js";

const [where, node, kind, seconds] = process.argv.slice(2);
const kinds: Record<string, NetworkChangeKind> = {
  changed: NetworkChangeKind.CHANGED,
  resumed: NetworkChangeKind.RESUMED,
  sleeping: NetworkChangeKind.SLEEPING,
  foreground: NetworkChangeKind.FOREGROUND,
};
if (!where || !node || !kinds[kind ?? ""] || !Number(seconds)) {
  console.error(`usage: report ADDRESS NODE ${Object.keys(kinds).join("|")} SECONDS`);
  process.exit(2);
}
try {
  const reporter = new Reporter(servers(where));
  for (const one of await reporter.report(kinds[kind ?? ""]!, Platform.LINUX, [node], Number(seconds) * 1000)) {
    console.log(one.nodeId, one.storeId, DecisionKindSchema.value[one.kind]?.name ?? one.kind);
  }
  process.exit(0); // the connection would be kept for a while
} catch (error) {
  console.error(String(error));
  process.exit(1);
}
