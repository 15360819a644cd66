"""Processes that Wine loses before they have begun."""

from __future__ import annotations

import pytest

from tests.kit.wine import ATTEMPTS, INTERNAL_ERROR, started_again


class WindowsError(OSError):
    """An error with the number that Windows gives it."""

    def __init__(self, number: int) -> None:
        """Take the number."""
        super().__init__(f"[WinError {number}]")
        self.winerror = number


class Starter:
    """Starts a process once it has failed as often as it shall."""

    def __init__(self, *errors: int) -> None:
        """Take the errors, in their order."""
        self.errors, self.calls = [*errors], 0

    def start(self, command: str) -> str:
        """Fail, or return the command."""
        self.calls += 1
        if self.errors:
            raise WindowsError(self.errors.pop(0))
        return command


def test_a_process_that_was_lost_is_started_again() -> None:
    starter = Starter(INTERNAL_ERROR, INTERNAL_ERROR)
    assert started_again(starter.start)("watch") == "watch"
    assert starter.calls == 3


def test_another_error_is_raised_at_once() -> None:
    starter = Starter(5)
    with pytest.raises(WindowsError, match="WinError 5"):
        started_again(starter.start)("watch")
    assert starter.calls == 1


def test_a_system_that_always_loses_it_is_believed() -> None:
    starter = Starter(*[INTERNAL_ERROR] * (ATTEMPTS + 1))
    with pytest.raises(WindowsError, match=f"WinError {INTERNAL_ERROR}"):
        started_again(starter.start)("watch")
    assert starter.calls == ATTEMPTS
