"""Lists that come in pages, as one. No IO."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from gossipcontrol.client.call import ListCall, Page

T = TypeVar("T")


class PageWalk(Generic[T]):
    """Ask for ``request`` and give each answer to ``accept``, until there is no further request."""

    def __init__(self, call: ListCall[Any, T]) -> None:
        self._call = call
        self._left = call.limit
        self.request: Any = type(call.request)()
        self.request.CopyFrom(call.request)

    def accept(self, page: Page) -> Iterator[T]:
        """The items of a page; afterwards ``request`` is the next one, or None."""
        for item in self._call.items(page):
            if self._left == 0:
                break
            yield self._call.decode(item)
            if self._left is not None:
                self._left -= 1
        self.request.page_token = page.next_page_token
        if not page.next_page_token or self._left == 0:
            self.request = None
