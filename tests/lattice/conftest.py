"""Fixtures of the tests of Lattice: the real service. Its daemons are reached over Unix sockets only."""

from __future__ import annotations

import sys

import pytest

from tests.server.conftest import service, stub, windows

__all__ = ["service", "stub", "windows"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Windows has no Unix sockets for gRPC."""
    for item in items if sys.platform == "win32" else ():
        if "tests/lattice" in item.path.as_posix():
            item.add_marker(pytest.mark.not_on_windows("gRPC has no Unix sockets there"))
