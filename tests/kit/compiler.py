"""Stand-ins for libraries of other systems, compiled when they are needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

MISSING = "" if shutil.which("cc") else "a C compiler is missing: apt-get install gcc libc6-dev"
"""What to install; empty when nothing is missing."""


def compiled(source: str, directory: Path) -> Path:
    """A shared library of this C source, in this directory; raises CalledProcessError."""
    text, built = directory / "library.c", directory / "library.so"
    text.write_text(source, encoding="ascii")
    subprocess.run(("cc", "-shared", "-fPIC", "-pthread", "-o", str(built), str(text)), check=True)
    return built
