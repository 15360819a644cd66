"""What deciding read of liveness: the only way in which reports, which are not logged, reach the deciding state."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from gossipcontrol.server.core.event import NEVER

RecordedRead = tuple[str, ...]
"""One answer: ids of peers, an instant as text, or a word for yes; empty for none."""


class RecordedReads:
    """Records the answers read while one event is handled, or gives those of its first handling again.

    Liveness is not logged, so in a replay nobody is a neighbour and nobody was heard. A rule that looks at liveness
    reads through here, and the answers are logged with the event; then a replay decides the same.
    """

    def __init__(self) -> None:
        self.answers: list[RecordedRead] = []
        self._recorded: deque[RecordedRead] = deque()

    def begin(self, recorded: Sequence[RecordedRead]) -> None:
        """Begin a new event; ``recorded`` are the answers of its first handling, if this is a replay."""
        if self.answers:
            self.answers = []
        if recorded or self._recorded:
            self._recorded = deque(recorded)

    def read(self, find: Callable[[], RecordedRead]) -> RecordedRead:
        """The recorded answer, or what ``find`` finds."""
        answer = self._recorded.popleft() if self._recorded else find()
        self.answers.append(answer)
        return answer

    def instant(self, found: float) -> float:
        """The recorded instant, or the one that was found; minus infinity is no answer."""
        if self._recorded:
            answer = self._recorded.popleft()
            found = float(answer[0]) if answer else NEVER
        else:
            answer = (repr(found),) if found > NEVER else ()
        self.answers.append(answer)
        return found

    def whether(self, found: bool) -> bool:
        """The recorded truth, or the one that was found."""
        answer = self._recorded.popleft() if self._recorded else ("yes",) if found else ()
        self.answers.append(answer)
        return bool(answer)

    def whether_named(self, yes: RecordedRead, found: bool) -> bool:
        """The same of a read that older logs lack: only a yes is recorded, in words that no other answer has."""
        if self._recorded:
            found = self._recorded[0] == yes
        return found and self.read(lambda: yes) == yes

    def read_named(self, name: RecordedRead, find: Callable[[], str]) -> str:
        """An id that older logs lack: it is recorded behind ``name``, which begins no other answer, unless empty."""
        if self._recorded:
            known = self._recorded[0]
            return self.read(lambda: known)[-1] if known[:-1] == name else ""
        found = find()
        if found:
            self.answers.append((*name, found))
        return found
