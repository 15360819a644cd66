"""What a program prints is UTF-8, also where the system would choose an old code page for a pipe."""

from __future__ import annotations

import io
import sys


def write_utf8() -> None:
    """Have both streams of output written as UTF-8 on Windows; a console shows all characters anyway."""
    if sys.platform == "win32":
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8")
