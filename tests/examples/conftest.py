"""Fixtures of the examples' tests: the real service."""

from tests.server.conftest import service, stub

__all__ = ["service", "stub"]
