"""Published and own weights: the table, safe reading, names of others, download, loading into a model."""

from volovan.models.weights.fit import LoadReport
from volovan.models.weights.keymaps import to_huggingface, to_mmpretrain, to_original, to_timm
from volovan.models.weights.load import load_weights
from volovan.models.weights.reading import WeightsError, safe_read
from volovan.models.weights.table import TABLE, Entry, default_entry, get_entry, list_weights

__all__ = [
    "TABLE",
    "Entry",
    "LoadReport",
    "WeightsError",
    "default_entry",
    "get_entry",
    "list_weights",
    "load_weights",
    "safe_read",
    "to_huggingface",
    "to_mmpretrain",
    "to_original",
    "to_timm",
]
