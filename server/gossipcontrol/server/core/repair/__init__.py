"""Repair: joining the sides of a partition, and syncing pairs that never become neighbours."""
