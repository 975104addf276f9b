"""Token labeling (arXiv 2104.10858): dense labels of a teacher, their files, and how a training run uses them.

    from volovan.labels import label_key, open_labels
    maps = open_labels("labels").read(label_key("train/n01440764/n01440764_10026.JPEG"))

All names are resolved on first use, so that importing the package imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volovan.labels.errors import LabelError
    from volovan.labels.keys import label_key
    from volovan.labels.store import open_labels

__all__ = ["LabelError", "label_key", "open_labels"]

_HOMES = {
    "LabelError": "volovan.labels.errors",
    "label_key": "volovan.labels.keys",
    "open_labels": "volovan.labels.store",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'volovan.labels' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)
