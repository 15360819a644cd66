"""The pages at ``metrics.address``: status page, metrics, health, debugging."""
