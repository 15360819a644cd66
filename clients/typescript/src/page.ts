// What a page or an Electron window learns of its device. Give the listener the node that runs in or beside the page.

import { NetworkChangeKind, Platform } from "./gen/gossipcontrol/v1/gossip_control_pb.js";
import type { Reporter } from "./client.js";

/** How long a report is tried, in milliseconds. */
const deadline = 60_000;

/** Report what happens to the page until the signal is aborted. */
export function watchPage(reporter: Reporter, nodeId: string, platform: Platform, signal: AbortSignal): void {
  const report = (kind: NetworkChangeKind) => {
    reporter.report(kind, platform, [nodeId], deadline).catch((error: unknown) => {
      console.warn("not reported to GossipControl", error); // the next change is reported anyway
    });
  };
  window.addEventListener("online", () => report(NetworkChangeKind.CHANGED), { signal });
  document.addEventListener(
    "visibilitychange",
    () => {
      if (document.visibilityState === "visible") {
        report(NetworkChangeKind.FOREGROUND);
      }
    },
    { signal },
  );
  // A page that the browser had frozen.
  document.addEventListener("resume", () => report(NetworkChangeKind.RESUMED), { signal });
}
