"""What the service is doing: its configuration without secrets, connections, tasks, memory."""

from __future__ import annotations

import asyncio
import gc
import re
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, cast

from gossipcontrol.server.config import Config
from gossipcontrol.server.core.memory import MemoryBudget
from gossipcontrol.server.runtime.slices import Slice
from gossipcontrol.server.status_page.bridge import Bridge
from gossipcontrol.server.status_page.site import Answer, Handler, Request, as_json

if sys.platform == "win32":

    def peak_resident() -> int | None:
        """Python tells it on no Windows."""
        return None

else:
    import resource

    def peak_resident() -> int | None:
        """The most bytes that this process ever had in memory."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


SECRET = re.compile(r"token|secret|password|passphrase|credential|private|(^|_)keys?($|_)", re.IGNORECASE)
"""Names of what is never shown."""
HIDDEN = "(hidden)"
LISTED = 1000
"""Most entries of a list; beyond it only their number is given."""


def without_secrets(value: object, name: str = "") -> object:
    """A configuration as JSON knows it, with values of secret names hidden; an empty one stays empty."""
    if SECRET.search(name):
        return value if value in ("", None, (), []) else HIDDEN
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        return {key: without_secrets(one, key) for key, one in members.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(one) for one in cast("list[object]", value)]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


class Debug:
    """The pages below ``/debug``. ``connections`` tells who is connected, as numbers or short lists."""

    def __init__(
        self, bridge: Bridge, config: Config, budget: MemoryBudget, connections: Callable[[], dict[str, Any]]
    ) -> None:
        self._bridge = bridge
        self._config = config
        self._budget = budget
        self._connections = connections

    def routes(self) -> dict[str, Handler]:
        """The pages by path."""
        return {
            "/debug/config": lambda request: as_json(without_secrets(asdict(self._config))),
            "/debug/connections": self._in_loop(self._show_connections),
            "/debug/tasks": self._in_loop(tasks),
            "/debug/memory": self._in_loop(self._memory),
        }

    def _in_loop(self, read: Callable[[], Awaitable[dict[str, Any]]]) -> Handler:
        def answer(request: Request) -> Answer:
            return as_json(self._bridge.ask(request.client, read))

        return answer

    async def _show_connections(self) -> dict[str, Any]:
        return self._connections()

    async def _memory(self) -> dict[str, Any]:
        return {
            "books": self._budget.by_book(),
            "used_bytes": self._budget.used(),
            "limit_bytes": self._budget.limit,
            "peak_resident_bytes": peak_resident(),
            "collections": [generation["collections"] for generation in gc.get_stats()],
            "threads": threading.active_count(),
        }


async def tasks() -> dict[str, Any]:
    """The tasks of the event loop by what they run and the line at which they wait."""
    found, work = Counter[str](), Slice()
    every = list(asyncio.all_tasks())
    for task in every:
        await work.rest()
        found[_place(task)] += 1
    listed = [{"place": place, "count": count} for place, count in found.most_common(LISTED)]
    return {"count": len(every), "threads": [one.name for one in threading.enumerate()][:LISTED], "tasks": listed}


def _place(task: asyncio.Task[Any]) -> str:
    stack = task.get_stack(limit=1)
    name = getattr(task.get_coro(), "__qualname__", "a coroutine")
    if not stack:
        return str(name)
    frame = stack[0]
    return f"{name} at {frame.f_code.co_filename.rpartition('gossipcontrol/')[2]}:{frame.f_lineno}"
