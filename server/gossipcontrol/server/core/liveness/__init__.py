"""Presence of peers, rot that no single node can see, and pairs that never meet; nothing of it is logged."""
