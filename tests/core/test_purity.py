"""The core is pure: no IO, no clock, no global randomness, nothing of asyncio, gRPC, protobuf or Prometheus."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from gossipcontrol.server import core

CORE = Path(core.__file__).parent
ALLOWED = frozenset({
    "__future__", "array", "collections", "collections.abc", "dataclasses", "enum", "heapq", "itertools", "math",
    "operator", "sys.byteorder", "types", "typing", "bisect", "functools", "json", "zlib", "_typeshed",
})  # fmt: skip
"""What computes only (and ``_typeshed``, which only type checkers see); anything else must be argued for here."""
OWN = "gossipcontrol.server.core."
IMPURE_BUILTINS = frozenset({"open", "input", "print", "exec", "eval", "__import__"})


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "the house imports by full name"
            module = node.module or ""
            yield from (f"{module}.{one.name}" for one in node.names) if module in ("random", "sys") else (module,)


def impurities(source: str) -> list[str]:
    tree = ast.parse(source)
    names = [name for name in imported(tree) if name not in ALLOWED and not name.startswith(OWN)]
    names += [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in IMPURE_BUILTINS]
    # A Random of the caller's may be taken and used: it is injected, and its seed gives the same run again.
    uses_global = any(
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random"
        and node.attr != "Random" for node in ast.walk(tree)
    )  # fmt: skip
    return [name for name in names if name != "random.Random" and (name != "random" or uses_global)]


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.name)
def test_a_file_of_the_core_imports_nothing_impure(path: Path) -> None:
    assert impurities(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio",
        "import time",
        "from time import monotonic",
        "import random\nrandom.random()",
        "from random import choice",
        "import os",
        "import socket",
        "import grpc",
        "from google.protobuf import message",
        "from prometheus_client import Counter",
        "from gossipcontrol.v1 import decision_pb2",
        "from gossipcontrol.server import convert",
        "def read(path): return open(path)",
        "def late():\n    import time",
    ],
)
def test_an_impurity_is_seen(source: str) -> None:
    assert impurities(source) != []


def test_an_injected_random_is_no_impurity() -> None:
    assert impurities("import random\ndef pick(rng: random.Random) -> float:\n    return rng.random()") == []
