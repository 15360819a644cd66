"""An agent beside a Lattice daemon, over its Unix socket.

Nothing is imported here, so that a single module can be used without the others.
"""
