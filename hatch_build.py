"""Build hook: generates the protobuf and gRPC stubs beside the .proto files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent / "proto"


def generate(root: Path = ROOT) -> None:
    """Write *_pb2.py, *_pb2_grpc.py and their .pyi for every .proto below ``root``; raises CalledProcessError.

    ``python -m grpc_tools.protoc`` and not ``grpc_tools.protoc.main()``: the latter misses the well-known types.
    """
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*.proto"))
    outputs = [f"--{plugin}_out={option}." for plugin, option in OUTPUTS]
    # The plug-ins lie beside the interpreter in a virtual environment, and on PATH in an isolated build.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, *files]
    subprocess.run(command, cwd=root, check=True, env={**os.environ, "PATH": path})


OUTPUTS = (("python", ""), ("grpc_python", ""), ("mypy", "quiet:"), ("mypy_grpc", "quiet:"))


class ProtoBuildHook(BuildHookInterface[Any]):
    """Generates the stubs before every wheel, editable ones included."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Run the generator."""
        generate()


if __name__ == "__main__":
    generate()
