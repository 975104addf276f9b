"""Samples that are drawn, not read."""
