"""The limit: a grpc.aio server that does nothing but answer. ``python -m bench.echo PORT BYTES`` runs it."""

from __future__ import annotations

import sys
from typing import Any

import grpc
import uvloop
from gossipcontrol.server.app import server_options
from gossipcontrol.server.config import Limits

METHOD = "/bench.Echo/Echo"


async def _serve(port: int, size: int) -> None:
    answer = bytes(size)

    async def echo(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        del request, context
        return answer

    server = grpc.aio.server(options=server_options(Limits()))
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print('{"event": "serving"}', flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
