"""What each peer of a store provably holds, from intentions alone. ALGORITHM states the rules and their reasons."""
