"""SIGUSR1: what the tasks of the event loop wait for, in the log."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from gossipcontrol.server.observe.log import Logger

LISTED_GROUPS = 40
"""Most lines of one dump: tasks that wait at the same place share one."""
DEPTH = 16
"""Most awaits that are followed from the task down."""


class Place(NamedTuple):
    """What a task runs, and where it waits."""

    work: str
    at: str


def place(task: asyncio.Task[Any]) -> Place:
    """The coroutine of a task, and the innermost line of Python that it waits in."""
    work: Any = task.get_coro()
    name, inner, at = getattr(work, "__qualname__", type(work).__name__), work, ""
    for _ in range(DEPTH):
        frame: Any = getattr(inner, "cr_frame", None) or getattr(inner, "ag_frame", None)
        frame = frame or getattr(inner, "gi_frame", None)
        if frame is not None:
            code: CodeType = frame.f_code
            at = f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}"
        inner = getattr(inner, "cr_await", None) or getattr(inner, "gi_yieldfrom", None)
        if inner is None:
            break
    return Place(name, at)


def log_tasks(tasks: Iterable[asyncio.Task[Any]], log: Logger, **counts: int) -> None:
    """One line with the counts, then one per place where tasks wait, the most first."""
    groups = Counter(place(task) for task in tasks if not task.done())
    log.info("state of tasks", tasks=groups.total(), places=len(groups), **counts)
    for found, number in groups.most_common(LISTED_GROUPS):
        log.info("tasks", count=number, work=found.work, waits_at=found.at)
    if len(groups) > LISTED_GROUPS:
        log.info("tasks left out", places=len(groups) - LISTED_GROUPS)
