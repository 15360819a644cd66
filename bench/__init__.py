"""Measurements: every figure that the project claims, ``python -m bench.NAME [--json] [--quick]``."""
