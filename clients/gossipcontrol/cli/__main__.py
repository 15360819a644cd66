"""``python -m gossipcontrol.cli`` is the command ``gossipcontrol``."""

from gossipcontrol.cli.main import main

main()
