"""A watcher of this host in your own program. The service: GOSSIPCONTROL_ADDRESS, else the one of this machine."""

import asyncio
from contextlib import suppress

from gossipcontrol.client import Client
from gossipcontrol.watch import Reporter, boot_id, host_id, make_watcher


async def main() -> None:
    """Report every change of the network, every sleep and resume, until Ctrl-C."""
    async with Client() as client, asyncio.TaskGroup() as group:
        reporter = Reporter(
            client,
            host_id=host_id(),
            boot_id=boot_id(),
            on_delivery=lambda delivery: print(f"{len(delivery.result.decisions)} decisions", flush=True),
            on_failure=lambda error: print(f"service unreachable, will retry: {error}", flush=True),
        )
        group.create_task(reporter.run())
        changes = make_watcher().changes(on_start=lambda source, first: print(first.describe(), flush=True))
        async for change in changes:
            print(f"{change.kind.label}: {change.detail}", flush=True)
            reporter.report(change)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
