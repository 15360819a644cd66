"""Runs a command with a client, and turns errors into one line and an exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec

import click
from gossipcontrol.cli.address_help import ADDRESS_HELP
from gossipcontrol.cli.complaint import Denied, nowhere, words_of
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.cli.output import say
from gossipcontrol.client.address import default_address, split_addresses
from gossipcontrol.client.errors import AddressError, ClientError, StandbyError, UnreachableError

P = ParamSpec("P")

FAILED, UNREACHABLE = 1, 3
TIMEOUT, TIMEOUT_OVER_SEVERAL = 2.0, 10.0
"""Seconds that a call may take; with several addresses as long as a standby may need to take over, and more."""
json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
_timeout = click.option(
    "--timeout", type=click.FloatRange(0.1, 3600), metavar="SECONDS",
    help=f"How long a call may take; default: {TIMEOUT:g}, with several addresses {TIMEOUT_OVER_SEVERAL:g}.",
)  # fmt: skip
_address = click.option("--address", metavar="ADDRESS", help=ADDRESS_HELP)


def calls(
    function: Callable[Concatenate[MessageClient, P], Awaitable[int]],
) -> Callable[..., None]:
    """Give a command its client, and turn errors into one line and an exit code."""

    def run(address: str | None, timeout: float | None, *args: P.args, **kwargs: P.kwargs) -> None:
        async def call() -> int:
            service = address or default_address()
            usual = TIMEOUT if len(split_addresses(service)) == 1 else TIMEOUT_OVER_SEVERAL
            async with MessageClient(service, timeout=timeout or usual) as client:
                try:
                    return await function(client, *args, **kwargs)
                except ClientError as error:
                    return _complain(client.address, error)

        sys.exit(_run(call()))

    return _address(_timeout(update_wrapper(run, function)))


def _complain(address: str, error: ClientError) -> int:
    """Say what is wrong, and give the exit code."""
    if not isinstance(error, UnreachableError):
        say(f"gossipcontrol: {words_of(address, error)}", error=True)
        return FAILED
    if isinstance(error, StandbyError) and len(split_addresses(address)) == 1:
        say(f"gossipcontrol: {address}: {error}", error=True)
        return UNREACHABLE
    try:
        say(f"gossipcontrol: {nowhere(address, error)}", error=True)
    except Denied as denied:
        say(f"gossipcontrol: {denied}", error=True)
        return FAILED
    return UNREACHABLE


def _run(work: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(work)
    except AddressError as error:
        raise click.UsageError(str(error)) from error
