"""Ids in order, for lists that are read page by page. Keeping them costs nothing until somebody reads."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterator

CHUNK = 512
"""Ids moved at most when one comes or goes."""


class SortedIds:
    """What came and went is only noted; ``catch_up`` puts it into its place, little by little."""

    def __init__(self) -> None:
        self._chunks: list[list[str]] = []
        """Each sorted and not empty, and before the next."""
        self._changed: dict[str, None] = {}

    def note(self, one_id: str) -> None:
        """An id came or went."""
        self._changed[one_id] = None

    def catch_up(self, present: Container[str]) -> Iterator[None]:
        """Put what was noted into its place, with a pause after each; ``present``: what there is now."""
        while self._changed:
            one_id, _ = self._changed.popitem()
            if one_id in present:
                self._add(one_id)
            else:
                self._remove(one_id)
            yield

    def after(self, one_id: str, count: int) -> list[str]:
        """The first so many ids after this one, as of the last time that all was caught up."""
        found: list[str] = []
        index = bisect_right(self._chunks, one_id, key=_last)
        while index < len(self._chunks) and len(found) < count:
            chunk = self._chunks[index]
            start = 0 if found else bisect_right(chunk, one_id)
            found += chunk[start : start + count - len(found)]
            index += 1
        return found

    def _add(self, one_id: str) -> None:
        if not self._chunks:
            self._chunks.append([one_id])
            return
        index = min(bisect_left(self._chunks, one_id, key=_last), len(self._chunks) - 1)
        chunk = self._chunks[index]
        at = bisect_left(chunk, one_id)
        if chunk[at : at + 1] == [one_id]:
            return
        chunk.insert(at, one_id)
        if len(chunk) > CHUNK:
            self._chunks[index : index + 1] = [chunk[: CHUNK // 2], chunk[CHUNK // 2 :]]

    def _remove(self, one_id: str) -> None:
        index = bisect_left(self._chunks, one_id, key=_last)
        if index == len(self._chunks):
            return
        chunk = self._chunks[index]
        at = bisect_left(chunk, one_id)
        if chunk[at] == one_id:
            del chunk[at]
            if not chunk:
                del self._chunks[index]


def _last(chunk: list[str]) -> str:
    return chunk[-1]
