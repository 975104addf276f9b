"""volovan: the VOLO, VAN and LV-ViT vision backbones, the two attentions beneath them, and the tasks on top.

    import volovan
    model = volovan.create_model("volo_d1", num_classes=10)
    net = volovan.create_segmenter("van_b2", head="upernet", num_classes=150)
    net = volovan.create_detector("van_b2", head="mask_rcnn", num_classes=80)
    net = volovan.create_panoptic("van_b2", num_classes=133)
    net = volovan.create_pose_model("van_b2", num_classes=17)
    answer = volovan.load("runs/mine").predict("photo.jpg")
    faster = volovan.fuse(model)

The names below are resolved on first use, so that importing the package imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volovan import ops
    from volovan.detect.network import create_detector
    from volovan.models.factory import create_model
    from volovan.models.fuse import fuse
    from volovan.models.variants import list_models
    from volovan.models.weights import load_weights
    from volovan.panoptic.network import create_panoptic
    from volovan.pose.network import create_pose_model
    from volovan.saliency.network import create_saliency_model
    from volovan.segment.network import create_segmenter
    from volovan.use.export import export
    from volovan.use.load import load
    from volovan.use.pack import pack

__version__ = "0.1.0"
__all__ = [
    "create_detector",
    "create_model",
    "create_panoptic",
    "create_pose_model",
    "create_saliency_model",
    "create_segmenter",
    "export",
    "fuse",
    "list_models",
    "load",
    "load_weights",
    "ops",
    "pack",
]

_HOMES = {
    "create_detector": "volovan.detect.network",
    "create_model": "volovan.models.factory",
    "create_panoptic": "volovan.panoptic.network",
    "create_pose_model": "volovan.pose.network",
    "create_saliency_model": "volovan.saliency.network",
    "create_segmenter": "volovan.segment.network",
    "export": "volovan.use.export",
    "fuse": "volovan.models.fuse",
    "list_models": "volovan.models.variants",
    "load": "volovan.use.load",
    "load_weights": "volovan.models.weights",
    "ops": "volovan.ops",
    "pack": "volovan.use.pack",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'volovan' has no attribute {name!r}; it has {', '.join(__all__)}")
    module = import_module(_HOMES[name])
    return module if name == "ops" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
