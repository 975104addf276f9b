"""Frozen features: to a file, and how well they tell classes apart."""
