"""The service: wiring, servicers, state and the pure core."""
