"""The layout that packaging rests on: three import roots, one PEP 420 namespace."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import gossipcontrol

ROOTS = ("proto", "server", "clients")
TOP = Path(__file__).parent.parent


def test_the_namespace_has_no_init_file_anywhere() -> None:
    found = [path for root in ROOTS for path in (TOP / root).rglob("gossipcontrol/__init__.py")]
    assert found == [], "gossipcontrol/__init__.py would hide the other two import roots"
    assert getattr(gossipcontrol, "__file__", None) is None


def test_each_root_gives_its_part_of_the_namespace() -> None:
    for name, root in (("v1.decision_pb2", "proto"), ("server.app", "server"), ("client.client", "clients")):
        module = import_module(f"gossipcontrol.{name}")
        assert Path(module.__file__ or "").is_relative_to(TOP / root)


def test_every_package_below_the_namespace_has_an_init_file() -> None:
    for root in ("server", "clients"):
        for path in (TOP / root / "gossipcontrol").rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), f"{path.parent} would be a namespace of its own"
