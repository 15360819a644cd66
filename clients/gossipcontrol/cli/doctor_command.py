"""The command ``gossipcontrol doctor``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import click
from gossipcontrol.cli import host_checkup as host
from gossipcontrol.cli.choice import SECONDS
from gossipcontrol.cli.complaint import words_of
from gossipcontrol.cli.document import print_document
from gossipcontrol.cli.invocation import FAILED, calls, json_option
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.cli.output import say, say_wrapped
from gossipcontrol.cli.status import Status, read_status
from gossipcontrol.cli.trouble import Trouble, unreported
from gossipcontrol.client.errors import ClientError, DeniedError, UnreachableError

INDENT = 20
"""Columns before a sentence."""
LOOK = 0.5
"""Seconds between two looks at agents that have not reported."""


@click.command()
@click.option("--wait", type=SECONDS, default=5.0, show_default=True, metavar="SECONDS",
              help="How long agents that have just attached may take to report.")  # fmt: skip
@click.option("--metrics", default="127.0.0.1:9742", show_default=True, help="Where the service's metrics are.")
@json_option
@calls
async def doctor(client: MessageClient, wait: float, metrics: str, as_json: bool) -> int:
    """Find what is wrong with the service and its fleet, and say how to cure it; exit code 1 if anything is."""
    good: host.Report = []
    troubles = list(host.check_clock(good))
    try:
        status = await _settled(client, wait)
    except ClientError as error:
        troubles.append(_no_service(client.address, error))
    else:
        troubles += _service(client.address, status, good)
        troubles += await asyncio.to_thread(list, _process(client.address, metrics, good))
    if as_json:
        wrong = [_plain(one.subject, one.sentence, one.cure, one.is_wrong) for one in troubles]
        print_document({"address": client.address, "good": [_plain(*one) for one in good], "troubles": wrong})
    else:
        _show(good, troubles)
    return FAILED if any(one.is_wrong for one in troubles) else 0


async def _settled(client: MessageClient, wait: float) -> Status:
    """The status once every attached agent has reported, or as it is after ``wait`` seconds."""
    ends_at = asyncio.get_running_loop().time() + wait
    while True:
        status = await read_status(client)
        left = ends_at - asyncio.get_running_loop().time()
        if left <= 0 or not unreported(status.listed):
            return status
        await asyncio.sleep(min(LOOK, left))


def _no_service(address: str, error: ClientError) -> Trouble:
    sentence, _, cure = words_of(address, error).partition("; ")
    if sentence.startswith("permission denied") or isinstance(error, DeniedError):
        return Trouble("permissions", f"{address}: {sentence}", cure or "run this as a user who may")
    subject = "service" if isinstance(error, UnreachableError) else "versions"
    return Trouble(subject, f"no service at {address}: {sentence}", cure or "look at the log of gossipcontrol-server")


def _service(address: str, status: Status, good: host.Report) -> list[Trouble]:
    found = list(status.troubles)
    if status.serving:
        good.append(("service", f"serves at {address}"))
    else:
        found.insert(0, Trouble("service", f"{address} answers, but does not serve: its state cannot be written",
                                "its log says why; make room, or repair the disk"))  # fmt: skip
    nodes = "1 node" if status.nodes == 1 else f"{status.nodes} nodes"
    if not status.stores:
        found.append(Trouble("agents", "no agent has ever attached", "start one with the address of this service: "
                             "gossipcontrol agent iroh --store STORE", is_wrong=False))  # fmt: skip
    elif not any(one.subject == "agents" for one in found):
        good.append(("agents", f"{status.attached} of {nodes} attached, and every one reports"))
    return found


def _process(address: str, metrics: str, good: host.Report) -> Iterator[Trouble]:
    checks: list[Callable[[int, host.Report], Iterator[Trouble]]] = [host.check_descriptors, host.check_disk]
    pid = host.service_pid(address)
    for check in checks if pid is not None else ():
        yield from check(pid or 0, good)
    yield from host.check_metrics(metrics, good)


def _show(good: host.Report, troubles: list[Trouble]) -> None:
    """What is wrong first, with its cure below; then what may pass, then what is well."""
    for one in sorted(troubles, key=lambda trouble: not trouble.is_wrong):
        say_wrapped(f"{'WRONG' if one.is_wrong else 'note':<6} {one.subject:<12} {one.sentence}", INDENT)
        say_wrapped(f"{'':<{INDENT}}-> {one.cure}", INDENT + 3)
    for subject, sentence in good:
        say_wrapped(f"{'ok':<6} {subject:<12} {sentence}", INDENT)
    wrong = sum(one.is_wrong for one in troubles)
    say("nothing is wrong" if not wrong else f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong")


def _plain(subject: str, sentence: str, cure: str = "", is_wrong: bool = False) -> dict[str, object]:
    return {"subject": subject, "sentence": sentence, "cure": cure, "is_wrong": is_wrong}
