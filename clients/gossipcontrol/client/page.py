"""Lists that come in pages, as one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Asked(Protocol):
    """A request that names the page it wants."""

    page_token: str


class Page(Protocol):
    """A response that names the page after it."""

    next_page_token: str


RequestT = TypeVar("RequestT", bound=Asked)
PageT = TypeVar("PageT", bound=Page)


async def each(
    asked: RequestT, call: Callable[[RequestT], Awaitable[PageT]], items: Callable[[PageT], Iterable[T]]
) -> AsyncIterator[T]:
    """Every item from the page that is asked for to the last; ``asked`` moves along."""
    while True:
        page = await call(asked)
        for item in items(page):
            yield item
        if not page.next_page_token:
            return
        asked.page_token = page.next_page_token
