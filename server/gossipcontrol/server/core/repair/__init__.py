"""Repair: reuniting a partitioned store, and syncing pairs that never meet."""
