#!/usr/bin/python3 -sP
"""Runs a program of GossipControl with the Python packages that came with it."""

import sys
from pathlib import Path

program = Path(__file__).resolve()
sys.path.insert(0, str(program.parents[1] / "lib" / "gossipcontrol"))

if program.name == "gossipcontrol-server":
    from gossipcontrol.server.__main__ import main
else:
    from gossipcontrol.cli.main import main

main()
