"""``python -m gossipcontrol.client`` is the command ``gossipcontrol``."""

from gossipcontrol.client.command import main

main()
