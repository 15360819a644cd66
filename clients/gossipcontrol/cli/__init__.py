"""The command line ``gossipcontrol``."""
