"""A bare grpc.aio server, the limit of any service in Python: ``echo.py PORT BYTES OPTIONS [METHOD PARSE]``.

It imports nothing of the project unless it parses, so that it runs with any release of grpcio. ``OPTIONS`` is a JSON
list of channel arguments, those of the service. With ``METHOD`` of the contract it parses every request as well:
``PARSE`` is ``module:Message``, or ``columns``, which also reads every column of a PeerLiveness request.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import uvloop

METHOD = "/bench.Echo/Echo"
COLUMNS = "columns"
CERTIFICATE, KEY = "BENCH_CERTIFICATE", "BENCH_KEY"
"""Variables with the paths of PEM files, with which it serves over TLS."""
Parse = Callable[[bytes], Any]


async def _serve(port: int, size: int, options: list[tuple[str, Any]], method: str, parse: Parse | None) -> None:
    answer = bytes(size)

    async def echo(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        del request, context
        return answer

    server = grpc.aio.server(options=options)
    service, name = method.strip("/").split("/")
    handlers: dict[str, grpc.RpcMethodHandler[Any, bytes]] = {
        name: grpc.unary_unary_rpc_method_handler(echo, request_deserializer=parse)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    _listen(server, f"127.0.0.1:{port}")
    await server.start()
    print(json.dumps({"event": "serving"}), flush=True)
    await server.wait_for_termination()


def _listen(server: grpc.aio.Server, address: str) -> None:
    if CERTIFICATE in os.environ:
        pair = (Path(os.environ[KEY]).read_bytes(), Path(os.environ[CERTIFICATE]).read_bytes())
        server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    else:
        server.add_insecure_port(address)


def _parser(name: str) -> Parse:
    if name == COLUMNS:
        return _read_columns(_parser("gossipcontrol.v1.gossip_control_pb2:PeerLivenessRequest"))
    module, _, message = name.partition(":")
    parse: Parse = getattr(import_module(module), message).FromString
    return parse


def _read_columns(parse: Parse) -> Parse:
    """Parse a PeerLiveness request, and copy every column of every report, as any service has to."""

    def read(data: bytes) -> list[object]:
        return [_columns(report.heard) for report in parse(data).reports]

    return read


def _columns(heard: Any) -> tuple[object, ...]:
    return heard.peer_ids[:], heard.heard_ages_ms[:], heard.heard_counts[:], heard.direct[:]


if __name__ == "__main__":
    given = [(str(name), value) for name, value in json.loads(sys.argv[3])]
    wanted, parses = (sys.argv[4], _parser(sys.argv[5])) if len(sys.argv) > 4 else (METHOD, None)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), int(sys.argv[2]), given, wanted, parses))
