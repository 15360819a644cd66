"""Which stores have a label of their own: a bounded number, recycled when a store is gone."""

from __future__ import annotations

from collections.abc import Callable

OTHER = "other"
"""The label of the stores without one of their own."""


class StoreLabels:
    """At most ``limit`` stores. One that is empty is exported once more, so that its end is seen, and then dropped.

    ``add`` is called in the event loop, ``export`` in the thread of a scrape.
    """

    def __init__(self, limit: int, is_empty: Callable[[str], bool]) -> None:
        self._limit = limit
        self._is_empty = is_empty
        self._labels: dict[str, None] = {}
        self._ended: set[str] = set()
        """Stores whose end was exported."""

    def __contains__(self, store_id: str) -> bool:
        return store_id in self._labels

    def add(self, store_id: str) -> None:
        """Give a store a label of its own, while the limit allows."""
        if store_id in self._labels or len(self._labels) >= self._limit:
            return
        if store_id != OTHER and not self._is_empty(store_id):
            self._labels[store_id] = None

    def export(self) -> list[str]:
        """The stores to export now; those whose end was exported before have lost their label."""
        exported: list[str] = []
        for store_id in tuple(self._labels):
            empty = self._is_empty(store_id)
            if empty and store_id in self._ended:
                self._ended.discard(store_id)
                self._labels.pop(store_id, None)
                continue
            (self._ended.add if empty else self._ended.discard)(store_id)
            exported.append(store_id)
        return exported
