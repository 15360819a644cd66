"""Diagnosis: one-way gossip (rot), isolation and partitions that no single node can see."""
