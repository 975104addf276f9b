"""Small networks in use, of every head of every task, as a run would leave them, and pictures of odd shapes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import volovan
from networks import TINY
from volovan.data.objects.skeleton import Skeleton
from volovan.pose.inference import Reading
from volovan.room.network import describe
from volovan.use.rooms import ROOMS

HEADS = {
    "classify": [None],
    "segment": ["fpn", "upernet", "ham"],
    "saliency": ["edn"],
    "pose": ["simple"],
    "panoptic": ["mask2former"],
    "detect": [
        *("retinanet", "atss", "gfl", "faster_rcnn", "mask_rcnn", "cascade_rcnn", "cascade_mask_rcnn", "sparse_rcnn"),
    ],
}
"""task -> heads"""
NETWORKS = [(task, head) for task, heads in HEADS.items() for head in heads]
QUICK = (("classify", None), ("segment", "ham"), ("saliency", "edn"), ("pose", "simple"), ("detect", "retinanet"),
         ("detect", "mask_rcnn"), ("detect", "sparse_rcnn"))  # fmt: skip
"""those that `make test` tries; all of them carry `slow` besides"""
CASES = [pytest.param(*each, marks=[] if each in QUICK else [pytest.mark.slow]) for each in NETWORKS]
NAMES = ("circle", "square", "star")
SMALL_HEADS: dict[str, dict[str, Any]] = {
    "fpn": {"pyramid_channels": 16, "channels": 16},
    "upernet": {"channels": 16},
    "ham": {"channels": 32, "rank": 4},
    "mask2former": {
        "queries": 12, "width": 64, "heads": 2, "encoder_layers": 1, "encoder_ffn": 32, "decoder_layers": 2,
        "decoder_ffn": 32,
    },
    "sparse_rcnn": {"width": 64, "proposals": 12, "stages": 2},
    "simple": {"width": 16},
    **{head: {"width": 16} for head in ("retinanet", "atss", "gfl")},
    **{head: {"width": 16, "hidden": 32} for head in HEADS["detect"][3:7]},
}  # fmt: skip
SKELETON = Skeleton(("nose", "left hand", "right hand"), ((0, 1), (0, 2)), (0, 2, 1), (0.1, 0.05, 0.05))


def network(task: str, head: str | None, family: str = "van") -> nn.Module:
    """Random weights, BatchNorms as if they had seen pictures."""
    torch.manual_seed(0)
    trunk = {key: value for key, value in TINY[family].items() if key != "img_size"}
    if task == "classify":
        model = volovan.create_model(family, num_classes=len(NAMES), img_size=64, **trunk)
    else:
        make: Any = {
            "segment": volovan.create_segmenter,
            "saliency": volovan.create_saliency_model,
            "pose": volovan.create_pose_model,
            "panoptic": volovan.create_panoptic,
            "detect": volovan.create_detector,
        }[task]
        count = {} if task == "saliency" else {"num_classes": len(NAMES)}
        options = SMALL_HEADS.get(str(head), {})
        model = make(family, head, trunk_options=trunk, head_options=options, img_size=64, **count)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    as_if_trained(model)
    return model.eval()


def as_if_trained(model: nn.Module) -> None:
    """Heads that find something: their first answers are all but nothing."""
    for name, parameter in model.named_parameters():
        if name.endswith(("class_out.bias", "class_predictor.bias")):
            nn.init.normal_(parameter, 0.0, 0.5)
        elif "class_out.weight" in name or "class_predictor.weight" in name:
            nn.init.normal_(parameter, 0.0, 0.3)
        elif "head.final_layer.weight" in name:  # heat maps with peaks
            nn.init.normal_(parameter, 0.0, 1.0)
        elif "head.stages" in name and "box_out.weight" in name:  # boxes that move by little, as trained ones do
            nn.init.normal_(parameter, 0.0, 0.01)


def ready(task: str, head: str | None, family: str = "van", **test: Any) -> Any:
    """A network in use; test: of its settings of the test."""
    model = network(task, head, family)
    kind = ROOMS[task].ready()
    return with_weights_of(model, kind, about(task, model, test))


def with_weights_of(model: nn.Module, kind: Any, said: dict[str, Any]) -> Any:
    found = kind.described(said, "a network")
    found.model.load_state_dict(model.state_dict())
    return found


def about(task: str, model: Any, test: dict[str, Any]) -> dict[str, Any]:
    """What its checkpoint would say."""
    palette = [[200, 30, 30], [30, 200, 30], [30, 30, 200]]
    settings = {} if task in ("classify", "saliency") else {"test": tested(task, test)}
    reading = Reading((64, 48), 1.25, "plain", False, SKELETON)
    more: dict[str, Any] = {
        "classify": {"eval_mode": "center"},
        "segment": {"palette": palette},
        "panoptic": {"palette": palette, "things": [True, True, False]},
        "pose": {"reading": asdict(reading), "objects": ["person"]},
    }.get(task, {})
    classes = SKELETON.names if task == "pose" else ("salient",) if task == "saliency" else NAMES
    return describe(task, model, classes, {**settings, **more})


def tested(task: str, test: dict[str, Any]) -> dict[str, Any]:
    """Settings of the test of a recipe, for small pictures."""
    from dataclasses import fields

    from volovan.use.recipes import find_recipe, read_recipe, recipe_names

    name = next(name for name in recipe_names() if read_recipe(find_recipe(name), [])[0].task == task)
    settings = read_recipe(find_recipe(name), [])[0].test
    usual: dict[str, Any] = {
        "detect": {"size": (160, 96), "shown": 0.05},
        "panoptic": {"size": (160, 96), "score": 0.2, "visible": 0.0},
        "segment": {"size": None, "mode": "whole"},
        "pose": {"flip": True},
    }[task]
    return {one.name: getattr(settings, one.name) for one in fields(settings)} | usual | test


def odd_pictures(count: int = 20) -> list[Image.Image]:
    """Of all shapes, from thin to large, with something in them; some with transparency, some grey."""
    random = np.random.default_rng(0)
    sizes = [(40, 30), (31, 200), (200, 31), (64, 64), (97, 131), (5, 7), (1, 1), (320, 240), (33, 32), (150, 149)]
    found = []
    for number in range(count):
        width, height = sizes[number % len(sizes)]
        y, x = np.mgrid[:height, :width]
        waves = [128 + 100 * np.sin(x / random.uniform(3, 20) + y / random.uniform(3, 20)) for _ in range(3)]
        noise = random.normal(0, 20, (height, width, 3))
        picture = Image.fromarray(np.clip(np.stack(waves, axis=2) + noise, 0, 255).astype(np.uint8))
        if number % 5 == 4:
            picture = picture.convert("L")
        if number % 7 == 6:
            picture = picture.convert("RGBA")
            picture.putalpha(Image.fromarray(np.full((height, width), 120, np.uint8)))
        found.append(picture)
    return found


# What predictor.py says beside what volovan says of the same picture


def compare_classes(own, right):
    for one, other in zip(own["top"], right.row()["top"], strict=True):
        assert (one["class"], one["number"]) == (other["class"], other["number"])
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


def compare_pixels(own, right):
    assert own["mask"].shape == right.mask.shape
    assert (own["mask"] == right.mask).mean() > 0.999 or own["mask"].size < 100


def compare_maps(own, right):
    assert np.abs(own["map"].astype(int) - right.map).max() <= 1


def compare_objects(own, right):
    assert len(own["boxes"]) == len(right)
    order, other = (np.lexsort((np.round(some, 3), labels)) for some, labels in (
        (own["scores"], own["labels"]), (right.scores, right.labels)))  # fmt: skip
    np.testing.assert_allclose(own["scores"][order], right.scores[other], atol=1e-4)
    assert (own["labels"][order] == right.labels[other]).all()
    if right.masks is not None and len(right):
        assert own["masks"].shape == right.masks.shape
        assert abs(int(own["masks"].sum()) - int(right.masks.sum())) <= 0.01 * right.masks.sum() + 2


def compare_points(own, right):
    np.testing.assert_allclose(own["points"][..., 2], right.points[..., 2], atol=1e-4)
    np.testing.assert_allclose(own["scores"], right.scores, atol=1e-4)
    sure = right.points[..., 2] > 0  # a picture of one colour has a map with the same peak on both sides
    np.testing.assert_allclose(own["points"][sure], right.points[sure], atol=1e-2)


def compare_segments(own, right):
    assert [one["class"] for one in own["segments"]] == right.names
    assert (own["ids"] == right.ids).mean() > 0.995


COMPARED = {
    "classify": compare_classes,
    "segment": compare_pixels,
    "saliency": compare_maps,
    "detect": compare_objects,
    "pose": compare_points,
    "panoptic": compare_segments,
}
