// The transport of a command, by its first argument.

import { readFileSync } from "node:fs";
import type { Interceptor, Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

/**
 * `ADDRESS` (gRPC), `tls:ADDRESS` (gRPC over TLS), `http://ADDRESS` (Connect with JSON), or `web+http://ADDRESS`
 * (gRPC-Web).
 */
export function transport(where: string): Transport {
  if (where.startsWith("http://")) {
    return createConnectTransport({ baseUrl: where });
  }
  if (where.startsWith("web+http://")) {
    return createGrpcWebTransport({ baseUrl: where.slice("web+".length) });
  }
  if (where.startsWith("tls:")) {
    return overTls(where.slice("tls:".length));
  }
  return createGrpcTransport({ baseUrl: `http://${where}` });
}

/** gRPC over TLS, with the files in PEM that GOSSIPCONTROL_TLS_AUTHORITY, _CERTIFICATE, _KEY and _TOKEN name. */
function overTls(address: string): Transport {
  const bearer: Interceptor = (next) => (request) => {
    const token = content("TOKEN"); // read again with each call, so that it can be replaced
    if (token) {
      request.header.set("authorization", `Bearer ${token.trim()}`);
    }
    return next(request);
  };
  return createGrpcTransport({
    baseUrl: `https://${address}`,
    nodeOptions: { ca: content("AUTHORITY"), cert: content("CERTIFICATE"), key: content("KEY") },
    interceptors: [bearer],
  });
}

function content(name: string): string | undefined {
  const path = process.env[`GOSSIPCONTROL_TLS_${name}`];
  return path ? readFileSync(path, "utf8") : undefined;
}
