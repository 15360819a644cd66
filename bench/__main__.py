"""All measurements, one after another: ``python -m bench [--json] [--quick]``."""

from __future__ import annotations

import subprocess
import sys

ALL = (
    "recovery", "throughput", "storm", "durability", "knowledge", "intentions", "detection", "liveness", "partition",
    "liars", "silence", "watch", "latency", "field", "trouble", "grpcio_version", "handshakes", "recover", "blocked",
    "hostile", "soak", "serf", "takeover", "reattach", "upgrade", "status_page", "restart", "attached_memory",
    "stalls",
)  # fmt: skip


def main() -> None:
    """Run each in a process of its own; exit with the names of those that failed."""
    failed = [name for name in ALL if subprocess.run([sys.executable, "-m", f"bench.{name}", *sys.argv[1:]]).returncode]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
