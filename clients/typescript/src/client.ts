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

/** How long one attempt may take, in milliseconds, and where there is another server to ask. */
const attemptTime = 5_000, shortTime = 2_000;
/** Bounds the first wait between two attempts, in milliseconds; it doubles with each. */
const firstWait = 200;
/** Bounds every wait that the service does not ask for, in milliseconds. */
const longestWait = 10_000;

/** The key of the metadata in which a standby says where the owner is. */
const owner = "gossipcontrol-owner";

/** With these another server may do better; one that stops cancels its calls. */
const elsewhere = new Set([Code.Unavailable, Code.DeadlineExceeded, Code.Canceled]);
const retryable = new Set([...elsewhere, Code.ResourceExhausted, Code.Aborted]);

/** One of the replicas of the service. */
export interface Server {
  /** As standbys name it: host:port. */
  address: string;
  transport: Transport;
}

/** Asks the server that serves; of several it finds that one, and keeps to it. */
export class Reporter {
  private readonly servers: { address: string; service: Client<typeof GossipControl> }[];
  /** The number of the server to ask next. */
  private current = 0;

  /** `servers`: the transport to the service, or its replicas. */
  constructor(servers: Transport | readonly [Server, ...Server[]]) {
    const listed: readonly Server[] = "unary" in servers ? [{ address: "", transport: servers }] : servers;
    this.servers = listed.map(({ address, transport }) => ({
      address,
      service: createClient(GossipControl, transport),
    }));
  }

  /**
   * Say that something happened just now to the device on which the nodes run.
   *
   * Tries until `deadline` milliseconds have passed: with the same request id, so that the service decides once; with
   * the age of the change, so that a late report is known to be late. Throws a ConnectError that another attempt cannot
   * mend at once; at the deadline the last one that the deadline did not cause, if there was one.
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
    const limit = this.servers.length > 1 ? shortTime : attemptTime;
    let reason: ConnectError | undefined;
    for (let attempt = 0, asked = 1; ; asked++) {
      const number = this.current;
      const left = deadline - elapsed();
      try {
        const message = create(ReportNetworkChangeRequestSchema, { ...request, ageMs: BigInt(Math.round(elapsed())) });
        const timeoutMs = Math.ceil(Math.max(1, Math.min(limit, left)));
        return (await this.servers[number]!.service.reportNetworkChange(message, { timeoutMs })).decisions;
      } catch (cause) {
        const error = failure(cause);
        if (!retryable.has(error.code)) {
          throw error;
        }
        const isCut = left < limit && error.code === Code.DeadlineExceeded;
        reason = (isCut && reason) || error;
        if (elapsed() >= deadline) {
          throw reason;
        }
        if (this.moveOn(number, error) && asked % this.servers.length !== 0) {
          continue; // another server may serve
        }
        const wait = waitTime(attempt++, error);
        if (elapsed() + wait >= deadline) {
          throw reason;
        }
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  /**
   * The presence of a store's peers: a snapshot, then each change, until the signal is aborted or the stream ends.
   *
   * Of several servers each is asked once until one serves.
   */
  async *watchPeers(storeId: string, signal: AbortSignal): AsyncGenerator<WatchPeersResponse> {
    for (let asked = 1, begun = false; ; asked++) {
      const number = this.current;
      try {
        for await (const update of this.servers[number]!.service.watchPeers({ storeId }, { signal })) {
          begun = true;
          yield update;
        }
        return;
      } catch (cause) {
        const moved = !signal.aborted && this.moveOn(number, failure(cause));
        if (begun || !moved || asked >= this.servers.length) {
          throw cause;
        }
      }
    }
  }

  /**
   * Go on to the server that a standby named, if it is one of those given: no other address is believed. Else to the
   * next. Returns whether another server may do better at all.
   */
  private moveOn(from: number, error: ConnectError): boolean {
    if (!elsewhere.has(error.code)) {
      return false;
    }
    const named = error.metadata.get(owner);
    const next = this.servers.findIndex((one, number) => one.address === named && number !== from);
    if (this.current === from) {
      this.current = next < 0 ? (from + 1) % this.servers.length : next;
    }
    return true;
  }
}

/** Why a call failed. Where `fetch` reached nobody it throws a TypeError, which Connect takes for an unknown error. */
function failure(cause: unknown): ConnectError {
  const error = ConnectError.from(cause);
  const isUnreached = error.code === Code.Unknown && error.cause instanceof TypeError;
  return isUnreached ? new ConnectError(error.rawMessage, Code.Unavailable, undefined, undefined, error.cause) : error;
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
