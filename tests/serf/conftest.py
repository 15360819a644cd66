"""Fixtures of the tests of Serf: the real service."""

from tests.server.conftest import service, stub, windows

__all__ = ["service", "stub", "windows"]
