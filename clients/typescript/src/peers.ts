// Follows the presence of a store's peers: node dist/peers.js ADDRESS STORE. Prints a line per peer that is new or
// changed.

import { PeerStateSchema } from "./gen/gossipcontrol/v1/liveness_pb.js";
import { Reporter } from "./client.js";
import { servers } from "./transport.js";

const [where, store] = process.argv.slice(2);
if (!where || !store) {
  console.error("usage: peers ADDRESS STORE");
  process.exit(2);
}
const stopped = new AbortController();
process.once("SIGTERM", () => stopped.abort());
try {
  for await (const update of new Reporter(servers(where)).watchPeers(store, stopped.signal)) {
    for (const peer of update.view?.peers ?? []) {
      console.log(peer.peerId, PeerStateSchema.value[peer.state]?.name ?? peer.state);
    }
    console.log("seen");
  }
} catch (error) {
  if (!stopped.signal.aborted) {
    console.error(String(error));
    process.exit(1);
  }
}
process.exit(0);
