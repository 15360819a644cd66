// The servers of a command, by its first argument.

import { readFileSync } from "node:fs";
import type { Interceptor, Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import type { Server } from "./client.js";

/** Replicas are listed with commas, all in the same form; the one that serves is found. */
export function servers(listed: string): [Server, ...Server[]] {
  const forms = new Set<string>();
  const [first, ...others] = listed.split(",").map((one) => {
    const [, form, address] = /^(tls:|(?:web\+)?http:\/\/)?(.*)$/.exec(one.trim())!;
    forms.add(form ?? "");
    return { address: address!, transport: transport(one.trim()) };
  });
  if (!first || forms.size > 1) {
    throw new Error(`${listed}: all addresses must have the same form`); // no credentials in plain text to some
  }
  return [first, ...others];
}

/**
 * `ADDRESS` (gRPC), `tls:ADDRESS` (gRPC over TLS), `http://ADDRESS` (Connect with JSON), or `web+http://ADDRESS`
 * (gRPC-Web).
 */
function transport(where: string): Transport {
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
