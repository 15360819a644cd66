"""The calls of the contract: each reads its request, passes it to the runtime, and encodes the answer."""
