"""The calls of the contract: each reads its request, hands it to the runtime, and encodes the answer."""
