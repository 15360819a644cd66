"""Runs a command with a client, and turns errors into one line and an exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec

import click
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.cli.output import say
from gossipcontrol.client.errors import AddressError, ClientError, UnreachableError

P = ParamSpec("P")

FAILED, UNREACHABLE = 1, 3
json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
_address = click.option("--address", metavar="ADDRESS", help="The service: unix:/path or host:port.")


def calls(
    function: Callable[Concatenate[MessageClient, P], Awaitable[int]],
) -> Callable[..., None]:
    """Give a command its client, and turn errors into one line and an exit code."""

    def run(address: str | None, *args: P.args, **kwargs: P.kwargs) -> None:
        async def call() -> int:
            async with MessageClient(address) as client:
                try:
                    return await function(client, *args, **kwargs)
                except UnreachableError as error:
                    say(f"gossipcontrol: no service at {client.address}: {error}", error=True)
                    return UNREACHABLE
                except ClientError as error:
                    say(f"gossipcontrol: {error}", error=True)
                    return FAILED

        sys.exit(_run(call()))

    return _address(update_wrapper(run, function))


def _run(work: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(work)
    except AddressError as error:
        raise click.UsageError(str(error)) from error
