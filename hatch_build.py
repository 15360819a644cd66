"""Build hook: generates the protobuf and gRPC stubs beside the .proto files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TOP = Path(__file__).parent
ROOTS = (TOP / "proto", TOP / "clients")
"""Our own contract, and what our agents need of those of others."""


def generate(root: Path) -> None:
    """Write *_pb2.py, *_pb2_grpc.py and their .pyi for every .proto of the package; raises CalledProcessError.

    ``python -m grpc_tools.protoc`` and not ``grpc_tools.protoc.main()``: the latter misses the well-known types.
    """
    files = sorted(str(path.relative_to(root)) for path in (root / "gossipcontrol").rglob("*.proto"))
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
        generate_all()


def generate_all() -> None:
    """Write them for every root; raises CalledProcessError."""
    for root in ROOTS:
        generate(root)


if __name__ == "__main__":
    generate_all()
