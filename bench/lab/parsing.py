"""The limit for reports: a grpc.aio server that parses them and does no more. ``python parsing.py PORT BYTES OPTIONS``.

It answers every report with as many bytes as the service does; ``OPTIONS`` is a JSON list of channel arguments.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc
import uvloop
from gossipcontrol.v1 import gossip_control_pb2

METHOD = "/gossipcontrol.v1.GossipControl/PeerLiveness"


async def _serve(port: int, size: int, options: list[tuple[str, Any]]) -> None:
    answer = bytes(size)

    async def parse(
        request: gossip_control_pb2.PeerLivenessRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> bytes:
        del request, context
        return answer

    server = grpc.aio.server(options=options)
    reader = gossip_control_pb2.PeerLivenessRequest.FromString
    handlers: dict[str, grpc.RpcMethodHandler[Any, bytes]] = {
        "PeerLiveness": grpc.unary_unary_rpc_method_handler(parse, request_deserializer=reader)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("gossipcontrol.v1.GossipControl", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(json.dumps({"event": "serving"}), flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    given = [(str(name), value) for name, value in json.loads(sys.argv[3])]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), int(sys.argv[2]), given))
