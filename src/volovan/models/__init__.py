"""Backbones: one page per family (volo.py, van.py, lvvit.py), shared parts in layers.py, doors in factory.py."""

from volovan.models.factory import create_model, list_models

__all__ = ["create_model", "list_models"]
