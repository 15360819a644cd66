"""The limit: a grpc.aio server that does nothing but answer. ``python echo.py PORT BYTES OPTIONS [METHOD PARSE]``.

It imports nothing of the project, so that it runs with any release of grpcio; ``OPTIONS`` is a JSON list of channel
arguments, those of the service. With a method of the contract and what parses its requests, ``module:Name`` of a class
of messages or of a function that takes bytes, it parses every request as well.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import grpc
import uvloop

METHOD = "/bench.Echo/Echo"
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
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(json.dumps({"event": "serving"}), flush=True)
    await server.wait_for_termination()


def _parser(path: str) -> Parse:
    """A function, or that of a class of messages."""
    module, _, name = path.partition(":")
    found = getattr(import_module(module), name)
    parse: Parse = getattr(found, "FromString", found)
    return parse


if __name__ == "__main__":
    given = [(str(name), value) for name, value in json.loads(sys.argv[3])]
    wanted, parses = (sys.argv[4], _parser(sys.argv[5])) if len(sys.argv) > 4 else (METHOD, None)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), int(sys.argv[2]), given, wanted, parses))
