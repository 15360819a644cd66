"""An agent beside a Serf agent, over its RPC; needs the extra ``gossipcontrol[serf]``.

Nothing is imported here, so that a single module can be used without the others.
"""
