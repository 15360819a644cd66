"""What each peer of a store provably holds, derived from intentions alone: version vectors over hash chains."""
