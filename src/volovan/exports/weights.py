"""Weights for the code of others: timm, the original repositories, the hub of Hugging Face; read back and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from volovan.exports.about import ExportError
from volovan.exports.card import card
from volovan.models.lvvit import LVViT
from volovan.models.van import VAN
from volovan.models.volo import VOLO
from volovan.models.weights.keymaps import to_huggingface, to_original
from volovan.predictor import one_line
from volovan.room.ready import Ready

State = Mapping[str, Tensor]
COMPARED = 2
"""pictures"""
TIMM_SIZES = {"volo_d1": (224, 384), "volo_d2": (224, 384), "volo_d3": (224, 448), "volo_d4": (224, 448),
              "volo_d5": (224, 448, 512)}  # fmt: skip
"""variant -> the sizes by which timm names it"""


# The original code


def write_original(ready: Ready[Any], path: Path) -> None:
    """A file for torch.load, {"state_dict": ...}, in the names of the code that the papers were made with."""
    torch.save({"state_dict": dict(original_names(ready))}, path)


def original_names(ready: Ready[Any]) -> State:
    """ExportError where that code was never released."""
    model: Any = ready.model
    if ready.room == "classify":
        return to_original(model)
    if ready.room == "segment" and isinstance(model.trunk, VAN) and model.find_head(model.config.head).theirs:
        from volovan.segment.network import to_mmsegmentation

        return to_mmsegmentation(model)
    if ready.room == "detect":
        from volovan.detect.network import to_mmdetection

        return to_mmdetection(model)
    if ready.room == "pose":
        from volovan.pose.network import to_mmpose

        return to_mmpose(model)
    if ready.room == "panoptic":
        from volovan.panoptic.network import to_mask2former

        return to_mask2former(model)
    raise ExportError(
        f"no original code of {ready.name} was released whose names it could have; hand it on with --to package"
    )


# timm


def write_timm(ready: Ready[Any], folder: Path) -> None:
    """A folder for `timm.create_model("local-dir:FOLDER")`, or for the hub. timm has VOLO itself; VAN and LV-ViT are
    there once `volovan.models.timm` was imported."""
    import timm

    model = classifier_of(ready, "timm")
    theirs = in_timm(model)
    try:
        theirs.load_state_dict(to_original(model))
    except RuntimeError as error:
        raise ExportError(
            f"timm's {type(theirs).__name__} is another network ({one_line(error)}); take --to package"
        ) from None
    compare(ready, theirs.eval(), "timm's network")
    seen = ready.preprocessing
    config = {
        "num_classes": len(ready.classes),
        "label_names": list(ready.classes),
        "pretrained_cfg": {
            "input_size": (3, *seen.input_size),
            "mean": seen.mean,
            "std": seen.std,
            "interpolation": seen.interpolation,
            "crop_pct": seen.crop_pct,
            "crop_mode": "squash" if squashes(ready) else "center",
            "num_classes": len(ready.classes),
        },
    }
    timm.models.save_for_hf(theirs, str(folder), config, model_args=arguments(model), safe_serialization=True)


def in_timm(model: nn.Module) -> nn.Module:
    """The network of timm that is the same, with random weights."""
    import timm

    import volovan.models.timm  # noqa: F401 - gives timm our variants

    config: Any = model.config
    size = config.img_size if isinstance(config.img_size, int) else max(config.img_size)
    name = f"{config.name}.volovan"
    if isinstance(model, VOLO):
        if config.name not in TIMM_SIZES:
            raise ExportError(f"timm has no VOLO like {config.name}; take --to package")
        near = min(TIMM_SIZES[config.name], key=lambda side: abs(side - size))
        name = f"{config.name}_{near}"
    try:
        return timm.create_model(name, num_classes=config.num_classes, **arguments(model))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExportError(f"timm cannot make {name} so ({one_line(error)}); take --to package") from None


def arguments(model: nn.Module) -> dict[str, Any]:
    """What timm must be told besides the name."""
    config: Any = model.config
    return {} if isinstance(model, VAN) else {"img_size": config.img_size}


# Hugging Face


def write_huggingface(ready: Ready[Any], folder: Path, name: str, data: str = "") -> None:
    """A folder that the hub takes: VAN as transformers 4 has it, the others as timm has them there; with a card.

    name  of the network
    data  what it was trained on
    """
    model = classifier_of(ready, "the hub")
    if isinstance(model, VAN):
        folder.mkdir(parents=True, exist_ok=True)
        state = to_huggingface(model)
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, folder / "model.safetensors",
                  {"format": "pt"})  # fmt: skip
        write_json(folder / "config.json", transformers_config(ready, model))
        write_json(folder / "preprocessor_config.json", transformers_preprocessing(ready))
        use = 'from transformers import pipeline  # 4.x\n\nprint(pipeline("image-classification", ".")("photo.jpg"))'
        library = "transformers"
    else:
        write_timm(ready, folder)
        before = "" if isinstance(model, VOLO) else "import volovan.models.timm\n"
        use = f'import timm\n{before}\nmodel = timm.create_model("local-dir:.", pretrained=True).eval()'
        library = "timm"
    text = card(ready, name, use=use, data=data, library=library)
    (folder / "README.md").write_text(text, encoding="utf-8")


def transformers_config(ready: Ready[Any], model: VAN) -> dict[str, Any]:
    config = asdict(model.config)
    depth = len(config["depths"])
    names = dict(enumerate(ready.classes))
    return {
        "architectures": ["VanForImageClassification"],
        "model_type": "van",
        "image_size": ready.preprocessing.input_size[0],
        "num_channels": config["in_chans"],
        "patch_sizes": list(config.get("patch_kernels") or (7, *(3,) * (depth - 1))),
        "strides": list(config.get("strides") or (4, *(2,) * (depth - 1))),
        "hidden_sizes": list(config["embed_dims"]),
        "depths": list(config["depths"]),
        "mlp_ratios": list(config["mlp_ratios"]),
        "hidden_act": "gelu",
        "layer_norm_eps": config["norm_eps"],
        **({"problem_type": "multi_label_classification"} if "target" in ready.says() else {}),
        "id2label": names,
        "label2id": {name: number for number, name in names.items()},
    }


def transformers_preprocessing(ready: Ready[Any]) -> dict[str, Any]:
    """ViT's processor squashes pictures, that of BiT takes their centre."""
    seen = ready.preprocessing
    height, width = seen.input_size
    if squashes(ready):
        way: dict[str, Any] = {"image_processor_type": "ViTImageProcessor", "size": {"height": height, "width": width}}
    elif height == width:
        way = {
            "image_processor_type": "BitImageProcessor",
            "size": {"shortest_edge": int(height / seen.crop_pct)},
            "do_center_crop": True,
            "crop_size": {"height": height, "width": width},
            "do_convert_rgb": True,
        }
    else:
        raise ExportError(
            f"{ready.name} takes the centre of pictures, {height} x {width}, for which transformers has no processor; "
            "take --to package"
        )
    return way | {
        "do_resize": True,
        "resample": int(Image.Resampling[seen.interpolation.upper()]),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(seen.mean),
        "image_std": list(seen.std),
    }


# What they share


def classifier_of(ready: Ready[Any], whose: str) -> Any:
    """The network, or ExportError where it is none of one class for each picture."""
    if ready.room != "classify" or not isinstance(ready.model, VOLO | VAN | LVViT):
        raise ExportError(f"{whose} has classifiers of these families only, {ready.name} is another network; take "
                          "--to package")  # fmt: skip
    if ready.says().get("target", {}).get("kind") == "regression":
        raise ExportError(f"{ready.name} gives values in units of its own, for which {whose} has no place; take --to "
                          "package")  # fmt: skip
    return ready.model


def squashes(ready: Ready[Any]) -> bool:
    """Whether the whole picture is seen, and not its centre."""
    return bool(ready.says().get("eval_mode") == "squash")


@torch.no_grad()
def compare(ready: Ready[Any], theirs: nn.Module, whose: str) -> None:
    """ExportError where another network with the same weights does not give the same logits."""
    images = torch.randn(COMPARED, 3, *ready.preprocessing.input_size, generator=torch.Generator().manual_seed(0))
    own, found = ready.model(images), theirs(images)
    error = float((own - found).abs().max() / own.abs().max().clamp(min=1e-9))
    if not error < 1e-4:
        raise ExportError(f"{whose} differs from {ready.name} (by {error:.1e}); take --to package")


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
