"""Packs: pictures of a bounded size with their targets, of any kind, in shards that training reads at random."""
