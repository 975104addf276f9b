"""For each kind of target, the layouts that are known, told apart."""
