"""Pose: named points of objects."""
