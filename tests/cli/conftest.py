"""Fixtures of the command line's tests: the real service."""

from tests.server.conftest import service, stub

__all__ = ["service", "stub"]
