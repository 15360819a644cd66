// The transport of a command, by its first argument.

import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

/** `ADDRESS` (gRPC), `http://ADDRESS` (Connect with JSON), or `web+http://ADDRESS` (gRPC-Web). */
export function transport(where: string): Transport {
  if (where.startsWith("http://")) {
    return createConnectTransport({ baseUrl: where });
  }
  if (where.startsWith("web+http://")) {
    return createGrpcWebTransport({ baseUrl: where.slice("web+".length) });
  }
  return createGrpcTransport({ baseUrl: `http://${where}` });
}
