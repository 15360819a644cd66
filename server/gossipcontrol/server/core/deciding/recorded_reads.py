"""What liveness said where a rule asked: the only way in which unlogged reports reach the deciding state."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from gossipcontrol.server.core.event import NEVER

RecordedRead = tuple[str, ...]
"""One answer: ids of peers, an instant as text, or a word for yes; empty for none."""


class RecordedReads:
    """Remembers the answers given while one event is handled, or gives those of its first handling again.

    Liveness is not logged, so on replay nobody is a neighbour and nobody was heard. A rule that looks at liveness
    asks through here, and the answers are logged with the event; then replay takes the same turns.
    """

    def __init__(self) -> None:
        self.said: list[RecordedRead] = []
        self._recalled: deque[RecordedRead] = deque()

    def open(self, recalled: Sequence[RecordedRead]) -> None:
        """Begin a new event; ``recalled`` are the answers of its first handling, if this is a replay."""
        if self.said:
            self.said = []
        if recalled or self._recalled:
            self._recalled = deque(recalled)

    def ask(self, look: Callable[[], RecordedRead]) -> RecordedRead:
        """The recalled answer, or what ``look`` finds."""
        answer = self._recalled.popleft() if self._recalled else look()
        self.said.append(answer)
        return answer

    def ask_instant(self, found: float) -> float:
        """The recalled instant, or the one that was found; minus infinity is no answer."""
        answer = self.ask(lambda: (repr(found),) if found > NEVER else ())
        return float(answer[0]) if answer else NEVER

    def ask_whether(self, found: bool) -> bool:
        """The recalled truth, or the one that was found."""
        return bool(self.ask(lambda: ("yes",) if found else ()))
