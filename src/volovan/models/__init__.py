"""Backbones: a page per family (volo.py, van.py, lvvit.py) on backbone.py, parts in layers.py, doors in factory.py."""

from volovan.models.factory import create_dense, create_model
from volovan.models.variants import list_models

__all__ = ["create_dense", "create_model", "list_models"]
