"""Names of mmdetection and of torchvision: there and back, and what torchvision computes with them."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from networks import TINY
from volovan.detect.network import Detector, create_detector, to_mmdetection, to_torchvision
from volovan.models.weights import WeightsError
from volovan.segment.network import create_segmenter

HEADS = [
    "retinanet",
    "atss",
    "gfl",
    "faster_rcnn",
    "mask_rcnn",
    "cascade_rcnn",
    "cascade_mask_rcnn",
    "sparse_rcnn",
]
CLASSES = 5


def build(head: str, seed: int, weights: Path | None = None, **options: int) -> Detector:
    torch.manual_seed(seed)
    small: dict[str, int] = {"width": 32} | ({"stages": 2, "proposals": 8} if head == "sparse_rcnn" else {})
    model = create_detector(
        "van",
        head,
        CLASSES,
        weights=weights,
        trunk_options=TINY["van"] | {"norm_eps": 1e-5},
        head_options=small | options,
    )
    return model.eval()


@pytest.mark.parametrize("head", HEADS)
def test_mmdetection_there_and_back(head: str, tmp_path: Path) -> None:
    first = build(head, 0)
    theirs = to_mmdetection(first)
    assert all(key.startswith(("backbone.", "neck.", "bbox_head.", "rpn_head.", "roi_head.")) for key in theirs)
    theirs["data_preprocessor.mean"] = torch.zeros(3)
    torch.save({"state_dict": theirs, "meta": {}}, tmp_path / "epoch_12.pth")
    second = build(head, 1, tmp_path / "epoch_12.pth")
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[key]), key


# Some names of each configuration file's network, with their shapes, as mmdetection builds it at this width
NAMES = {
    "retinanet": {
        "neck.lateral_convs.0.conv.weight": (32, 16, 1, 1),
        "neck.fpn_convs.4.conv.bias": (32,),
        "bbox_head.cls_convs.3.conv.bias": (32,),
        "bbox_head.retina_cls.weight": (45, 32, 3, 3),
        "bbox_head.retina_reg.bias": (36,),
    },
    "atss": {
        "bbox_head.cls_convs.0.gn.weight": (32,),
        "bbox_head.reg_convs.3.conv.weight": (32, 32, 3, 3),
        "bbox_head.atss_cls.weight": (5, 32, 3, 3),
        "bbox_head.atss_centerness.bias": (1,),
        "bbox_head.scales.4.scale": (),
    },
    "gfl": {"bbox_head.gfl_reg.weight": (68, 32, 3, 3), "bbox_head.scales.0.scale": ()},
    "mask_rcnn": {
        "neck.lateral_convs.3.conv.weight": (32, 64, 1, 1),
        "rpn_head.rpn_conv.weight": (32, 32, 3, 3),
        "rpn_head.rpn_cls.weight": (3, 32, 1, 1),
        "rpn_head.rpn_reg.weight": (12, 32, 1, 1),
        "roi_head.bbox_head.shared_fcs.0.weight": (1024, 32 * 49),
        "roi_head.bbox_head.fc_cls.weight": (6, 1024),
        "roi_head.bbox_head.fc_reg.weight": (20, 1024),
        "roi_head.mask_head.convs.3.conv.weight": (32, 32, 3, 3),
        "roi_head.mask_head.upsample.weight": (32, 32, 2, 2),
        "roi_head.mask_head.conv_logits.weight": (5, 32, 1, 1),
    },
    "cascade_mask_rcnn": {
        "roi_head.bbox_head.2.shared_convs.3.bn.running_mean": (32,),
        "roi_head.bbox_head.1.shared_fcs.0.weight": (1024, 32 * 49),
        "roi_head.mask_head.2.conv_logits.bias": (5,),
    },
    "sparse_rcnn": {
        "rpn_head.init_proposal_bboxes.weight": (8, 4),
        "rpn_head.init_proposal_features.weight": (8, 32),
        "roi_head.bbox_head.1.attention.attn.in_proj_weight": (96, 32),
        "roi_head.bbox_head.0.instance_interactive_conv.dynamic_layer.weight": (2 * 32 * 64, 32),
        "roi_head.bbox_head.0.instance_interactive_conv.fc_norm.bias": (32,),
        "roi_head.bbox_head.0.ffn.layers.0.0.weight": (2048, 32),
        "roi_head.bbox_head.0.ffn.layers.1.bias": (32,),
        "roi_head.bbox_head.1.cls_fcs.1.weight": (32,),
        "roi_head.bbox_head.1.reg_fcs.6.weight": (32, 32),
        "roi_head.bbox_head.1.fc_reg.bias": (4,),
    },
}


@pytest.mark.parametrize("head", NAMES)
def test_names_are_those_of_mmdetection(head: str) -> None:
    theirs = {key: tuple(tensor.shape) for key, tensor in to_mmdetection(build(head, 0)).items()}
    assert {key: theirs.get(key) for key in NAMES[head]} == NAMES[head]


WIDTH = 256  # torchvision's mask head has no other


class Body(nn.Module):
    """Our trunk as torchvision takes one."""

    def __init__(self, trunk: nn.Module, levels: int, extra: nn.Module) -> None:
        super().__init__()
        self.body, self.levels, self.out_channels = trunk, levels, WIDTH
        self.fpn = FeaturePyramidNetwork(list(trunk.channels[-levels:]), WIDTH, extra)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.body.forward_features(x)[-self.levels :]
        return self.fpn(OrderedDict((str(i), m) for i, m in enumerate(maps)))


def retinanet(trunk: nn.Module) -> RetinaNet:
    anchors = AnchorGenerator(tuple((s, s * 2 ** (1 / 3), s * 2 ** (2 / 3)) for s in (32, 64, 128, 256, 512)))
    anchors = AnchorGenerator(anchors.sizes, ((0.5, 1.0, 2.0),) * 5)
    return RetinaNet(Body(trunk, 3, LastLevelP6P7(64, WIDTH)), CLASSES + 1, anchor_generator=anchors)


def mask_rcnn(trunk: nn.Module) -> MaskRCNN:
    anchors = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    return MaskRCNN(Body(trunk, 4, LastLevelMaxPool()), CLASSES + 1, rpn_anchor_generator=anchors)


@pytest.mark.parametrize(("head", "make"), [("retinanet", retinanet), ("mask_rcnn", mask_rcnn)])
def test_torchvision_there_and_back(head: str, make: Callable[..., nn.Module], tmp_path: Path) -> None:
    first = build(head, 0, width=WIDTH)
    theirs = make(build(head, 2).trunk).eval()
    theirs.load_state_dict(to_torchvision(first))  # every name is there, and no other
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    second = build(head, 1, tmp_path / "theirs.pth", width=WIDTH)
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[key]), key


def test_torchvision_computes_the_same_of_retinanet() -> None:
    first = build("retinanet", 0, width=WIDTH)
    for name, parameter in first.head.named_parameters():
        nn.init.normal_(parameter, std=0.05 if "weight" in name else 0.5)
    theirs = retinanet(build("retinanet", 2).trunk).eval()
    theirs.load_state_dict(to_torchvision(first))
    images = torch.randn(2, 3, 128, 160)
    with torch.no_grad():
        pyramid = list(theirs.backbone(images).values())
        found = theirs.head(pyramid)
        ours = first.head.fpn(first.maps(images)[1:])
        logits, deltas = first.head.predict(ours)
    for a, b in zip(pyramid[:4], ours[:4], strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.equal(pyramid[4], ours[4])  # torchvision has a ReLU before P7, the original has none
    same = sum(part.shape[1] for part in logits[:4])
    torch.testing.assert_close(found["cls_logits"][:, :same, 1:], torch.cat(logits[:4], dim=1))
    torch.testing.assert_close(found["bbox_regression"][:, :same], torch.cat(deltas[:4], dim=1))
    prior = found["cls_logits"][..., 0].sigmoid()
    torch.testing.assert_close(prior, torch.full_like(prior, 0.01))


def test_torchvision_computes_the_same_of_mask_rcnn() -> None:
    first = build("mask_rcnn", 0, width=WIDTH)
    theirs = mask_rcnn(build("mask_rcnn", 2).trunk).eval()
    theirs.load_state_dict(to_torchvision(first))
    images, pooled, wide = torch.randn(1, 3, 128, 160), torch.randn(7, WIDTH, 7, 7), torch.randn(7, WIDTH, 14, 14)
    with torch.no_grad():
        pyramid = list(theirs.backbone(images).values())
        ours = first.head.fpn(first.maps(images))
        objectness, moves = theirs.rpn.head(pyramid)
        logits, deltas = first.head.rpn(ours)
        scores, boxes = theirs.roi_heads.box_predictor(theirs.roi_heads.box_head(pooled))
        own_scores, own_boxes = first.head.box_heads[0](pooled)
        masks = theirs.roi_heads.mask_predictor(theirs.roi_heads.mask_head(wide))
        own_masks = first.head.mask_heads[0](wide)
    for a, b, own_a, own_b in zip(objectness, moves, logits, deltas, strict=True):
        torch.testing.assert_close(a.permute(0, 2, 3, 1).flatten(1), own_a)
        torch.testing.assert_close(b.permute(0, 2, 3, 1).reshape(own_b.shape), own_b)
    torch.testing.assert_close(scores.roll(-1, dims=1), own_scores)
    torch.testing.assert_close(boxes[:, 4:].reshape(own_boxes.shape), own_boxes)
    torch.testing.assert_close(masks[:, 1:], own_masks)


def test_what_torchvision_has_not_is_said() -> None:
    with pytest.raises(WeightsError, match=r"torchvision has the heads .*found atss"):
        to_torchvision(build("atss", 0))


def test_the_trunk_of_a_detector_of_torchvision_is_a_trunk(tmp_path: Path) -> None:
    first = build("retinanet", 0)
    torch.save(to_torchvision(first), tmp_path / "theirs.pth")
    options: dict[str, Any] = {"weights": tmp_path / "theirs.pth", "trunk_options": TINY["van"] | {"norm_eps": 1e-5}}
    for other in (
        create_detector("van", "atss", CLASSES, head_options={"width": 32}, **options),
        create_segmenter("van", "fpn", 4, head_options={"pyramid_channels": 8, "channels": 8}, **options),
    ):
        for key, tensor in first.trunk.state_dict().items():
            assert torch.equal(tensor, other.trunk.state_dict()[key]), key
