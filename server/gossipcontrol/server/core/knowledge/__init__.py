"""What each peer of a store provably holds, from intentions alone. docs/algorithm/knowledge.md has the rules."""
