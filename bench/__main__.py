"""Every measurement, one after the other: ``python -m bench [--json] [--quick]``."""

from __future__ import annotations

import subprocess
import sys

ALL = (
    "recovery", "throughput", "storm", "durability", "knowledge", "intentions", "detection", "liveness", "partition",
    "silence", "watch", "trouble", "grpcio_version",
)  # fmt: skip


def main() -> None:
    """Run them, each in a process of its own; fail when one of them does."""
    failed = [name for name in ALL if subprocess.run([sys.executable, "-m", f"bench.{name}", *sys.argv[1:]]).returncode]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
