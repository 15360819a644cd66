// Reports to GossipControl what happened to a device, over any transport of Connect: gRPC, Connect or gRPC-Web.

import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type Client, type Transport } from "@connectrpc/connect";
import type { Decision } from "./gen/gossipcontrol/v1/decision_pb.js";
import {
  GossipControl,
  type NetworkChangeKind,
  type Platform,
  ReportNetworkChangeRequestSchema,
  type WatchPeersResponse,
} from "./gen/gossipcontrol/v1/gossip_control_pb.js";

/** How long one attempt may take, in milliseconds. */
const attemptTime = 5_000;
/** Bounds the first wait between two attempts, in milliseconds; it doubles with each. */
const firstWait = 200;
/** Bounds every wait that the service does not ask for, in milliseconds. */
const longestWait = 10_000;

const retryable = new Set([Code.Unavailable, Code.ResourceExhausted, Code.DeadlineExceeded, Code.Aborted]);

export class Reporter {
  private readonly service: Client<typeof GossipControl>;

  constructor(transport: Transport) {
    this.service = createClient(GossipControl, transport);
  }

  /**
   * Say that something happened just now to the device on which the nodes run.
   *
   * Tries until `deadline` milliseconds have passed: with the same request id, so that the service decides once; with
   * the age of the change, so that a late report is known to be late. Throws a ConnectError that another attempt cannot
   * mend at once.
   */
  async report(kind: NetworkChangeKind, platform: Platform, nodeIds: string[], deadline: number): Promise<Decision[]> {
    const happened = performance.now();
    const elapsed = () => performance.now() - happened;
    const request: MessageInitShape<typeof ReportNetworkChangeRequestSchema> = {
      requestId: crypto.randomUUID(),
      nodeIds,
      kind,
      platform,
      parkUnknown: true, // the node may attach later
    };
    for (let attempt = 0; ; attempt++) {
      try {
        const message = create(ReportNetworkChangeRequestSchema, { ...request, ageMs: BigInt(Math.round(elapsed())) });
        const timeoutMs = Math.ceil(Math.max(1, Math.min(attemptTime, deadline - elapsed())));
        return (await this.service.reportNetworkChange(message, { timeoutMs })).decisions;
      } catch (cause) {
        const error = ConnectError.from(cause);
        const wait = waitTime(attempt, error);
        if (!retryable.has(error.code) || elapsed() + wait >= deadline) {
          throw error;
        }
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  /** The presence of a store's peers: a snapshot, then each change, until the signal is aborted or the stream ends. */
  watchPeers(storeId: string, signal: AbortSignal): AsyncIterable<WatchPeersResponse> {
    return this.service.watchPeers({ storeId }, { signal });
  }
}

/** What the service asks for (RetryInfo), or exponential backoff with full jitter; in milliseconds. */
function waitTime(attempt: number, error: ConnectError): number {
  for (const detail of error.details) {
    if ("type" in detail && detail.type === "google.rpc.RetryInfo") {
      const reader = new BinaryReader(detail.value); // its only field is a Duration
      reader.tag();
      const delay = fromBinary(DurationSchema, reader.bytes());
      return Number(delay.seconds) * 1000 + delay.nanos / 1e6;
    }
  }
  return Math.random() * Math.min(firstWait * 2 ** Math.min(attempt, 10), longestWait);
}
