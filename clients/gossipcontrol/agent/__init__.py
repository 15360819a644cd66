"""The agent library, and the reference agent on iroh-gossip."""
