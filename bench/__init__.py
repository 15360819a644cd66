"""Measurements: one script per figure that the project claims."""
