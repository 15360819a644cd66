"""The limit: a grpc.aio server that does nothing but answer. ``python echo.py PORT BYTES OPTIONS`` runs it.

It imports nothing of the project, so that it runs with any release of grpcio; ``OPTIONS`` is a JSON list of channel
arguments, those of the service.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc
import uvloop

METHOD = "/bench.Echo/Echo"


async def _serve(port: int, size: int, options: list[tuple[str, Any]]) -> None:
    answer = bytes(size)

    async def echo(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        del request, context
        return answer

    server = grpc.aio.server(options=options)
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(json.dumps({"event": "serving"}), flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    given = [(str(name), value) for name, value in json.loads(sys.argv[3])]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), int(sys.argv[2]), given))
