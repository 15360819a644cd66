"""The reference node on iroh-gossip; needs the extra ``gossipcontrol[iroh]``."""
