"""Diagnosis: rot and partitions that no single node can see."""
