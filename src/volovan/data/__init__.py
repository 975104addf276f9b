"""Pictures from anywhere: one safe decoder, one interface for every kind of source, and a check before the run."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volovan.data.checks.check import check_data as check_data
    from volovan.data.checks.check import run_check as run_check
    from volovan.data.errors import BadImage as BadImage
    from volovan.data.errors import SourceError as SourceError
    from volovan.data.images import open_images as open_images
    from volovan.data.masks.coding import MaskSource as MaskSource
    from volovan.data.pictures.decoding import decode as decode
    from volovan.data.pictures.sheet import contact_sheet as contact_sheet
    from volovan.data.source import Source as Source
    from volovan.data.sources import list_splits as list_splits
    from volovan.data.sources import open_source as open_source

_HOMES = {  # resolved on first use: importing the package imports neither Pillow nor NumPy
    "BadImage": "errors",
    "MaskSource": "masks.coding",
    "Source": "source",
    "SourceError": "errors",
    "check_data": "checks.check",
    "contact_sheet": "pictures.sheet",
    "decode": "pictures.decoding",
    "list_splits": "sources",
    "open_images": "images",
    "open_source": "sources",
    "run_check": "checks.check",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
