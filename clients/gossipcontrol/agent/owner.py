"""Which owner of the service's state the agent heard last: what an older one says counts no more."""

from __future__ import annotations


class Owner:
    """Compares epochs within one cell; an agent that is moved to another cell begins with what that one says."""

    def __init__(self) -> None:
        self._cell = ""
        self._epoch = 0

    def begin(self, cell: str, epoch: int) -> None:
        """A stream was answered; raises ConnectionError when its sender was replaced."""
        if cell != self._cell:
            self._cell, self._epoch = cell, 0
        if not self.admits(epoch):
            raise ConnectionError(f"a replica answered that was replaced: it has epoch {epoch}, another {self._epoch}")

    def admits(self, epoch: int) -> bool:
        """Whether a frame counts; 0: its sender does not say, as where there is one service."""
        if epoch and epoch < self._epoch:
            return False
        self._epoch = max(epoch, self._epoch)
        return True
