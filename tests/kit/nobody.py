"""Runs commands as a user that the user database does not know, without a home directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

import pytest
from gossipcontrol.system.home import is_root

USER = 61234
"""A user id without an entry in the user database."""
# Reading stays allowed, because the interpreter may lie where only its owner may look; writing does not.
AS_NOBODY = (
    "setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
)  # fmt: skip
needs_nobody = (
    pytest.mark.not_on_windows("every user has a directory of its own there")
    if sys.platform == "win32"
    else pytest.mark.skipif(
        not is_root() or shutil.which("setpriv") is None,
        reason="needs root and setpriv: install the Debian package util-linux",
    )
)


def run_as_nobody(*arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, and with nothing in the environment but what is given."""
    command = (*AS_NOBODY, sys.executable, *arguments)
    environment = {"PATH": os.defpath, **(environ or {})}
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False)
