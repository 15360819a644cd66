"""Ids of the running service for the completion of shells; without an answer in time there are none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

import click
from click.shell_completion import CompletionItem

PATIENCE = 0.5
"""Seconds that a press of Tab may take beside the start of Python."""
MOST = 100
"""Most stores, or rejoins, that are looked at."""


def complete_node(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names and ids of nodes."""
    return _complete(context, incomplete, "node")


def complete_store(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of stores."""
    return _complete(context, incomplete, "store")


def complete_rejoin(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of rejoins, newest first."""
    return _complete(context, incomplete, "rejoin")


def _complete(context: click.Context, incomplete: str, kind: str) -> list[CompletionItem]:
    # Imported when Tab is pressed only: the help of a command must not wait for gRPC.
    from gossipcontrol.client.errors import ClientError

    found: dict[str, None] = {}
    ends_at = time.monotonic() + PATIENCE
    try:
        for one in _ids(context.params.get("address"), kind):
            # A shell would split or obey anything else.
            if one.startswith(incomplete) and one.isprintable() and not set(one) & set(" \t'\"\\$`"):
                found[one] = None
            if time.monotonic() > ends_at:
                break
    except ClientError:
        pass
    return [CompletionItem(one) for one in found]


def _ids(address: str | None, kind: str) -> Iterator[str]:
    from gossipcontrol.client.sync_client import SyncClient

    with SyncClient(address, timeout=PATIENCE) as client:
        if kind == "rejoin":
            yield from (one.rejoin_id for one in client.list_rejoins(limit=MOST))
            return
        for store in islice(client.list_stores(), MOST):
            if kind == "store":
                yield store.store_id
            else:
                yield from (one for node in store.nodes for one in (node.name, node.node_id) if one)
