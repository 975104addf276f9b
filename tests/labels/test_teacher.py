"""Dense maps: their mean over positions is the teacher's logit, and teachers that cannot have one are refused."""

import pytest
import timm
import torch
from torch import nn

from volovan import create_model
from volovan.labels import LabelError
from volovan.labels.heads import PooledHead
from volovan.labels.teacher import build_timm, make_teacher, weights_digest
from volovan.models.preprocessing import Preprocessing

SEEN = Preprocessing((64, 64), crop_pct=1.0)
SMALL_VAN = {"embed_dims": (8, 16), "depths": (1, 1), "mlp_ratios": (2, 2), "patch_kernels": (5, 3), "strides": (4, 2)}
SMALL_VOLO = {
    "depths": (1, 1),
    "embed_dims": (16, 16),
    "num_heads": (2, 2),
    "mlp_ratios": (2, 2),
    "mixers": ("outlook", "attention"),
    "downsamples": (True, False),
    "stem_width": 8,
}
MEAN_HEAD = {"class_blocks": 0, "dense_head": False, "mean_head": True}
SMALL_LVVIT = {"depth": 2, "embed_dim": 16, "num_heads": 2, "stem_width": 8}


def dense_map(teacher, images):
    """Logits at every position."""
    return teacher.head.dense(teacher.head.features(images))


def made_real(model):
    """Statistics and weights as of a trained net: norms that do something, logits of the size of real ones."""
    random = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1, generator=random)
            module.running_var.uniform_(0.5, 1.5, generator=random)
        if isinstance(module, nn.LayerNorm) and module.weight is not None:
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=random)
            nn.init.uniform_(module.bias, -0.5, 0.5, generator=random)
    return model


def loud(model, images):
    """Scale the classifier until the largest logit is 8."""
    classifier = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    with torch.no_grad():
        classifier.weight *= 8 / (model.eval()(images).abs().max() + 1e-12)
    return model


TIMM = {  # a member of the family, and its input
    "resnet": ("test_resnet", 64),
    "nfnet": ("test_nfnet", 64),
    "convnext": ("test_convnext", 64),
    "efficientnet": ("test_efficientnet", 64),
    "vit_average": ("test_vit4", 160),
}
LARGER = {
    "resnet": ("resnet18", 64),
    "nfnet": ("nfnet_l0", 64),
    "convnext": ("convnext_atto", 64),
    "efficientnet": ("efficientnet_b0", 64),
    "regnet": ("regnetx_002", 64),
    "maxvit": ("test_maxvit", 160),
    "swin": ("swin_tiny_patch4_window7_224", 224),
    "resnetv2": ("resnetv2_50", 64),
    "densenet": ("densenet121", 64),
    "poolformer": ("poolformer_s12", 64),
}


@pytest.mark.parametrize("size", [180, 200, 224, 20])
def test_stride_is_the_true_one_at_any_size(size):
    """ResNet pads: 200 pixels give 7 cells of 32, not of 28.6; 180 give 6, not of 30."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=5)
    teacher = make_teacher("timm:test_resnet", model, None, SEEN, size)
    assert teacher.stride == 32
    assert dense_map(teacher, torch.zeros(1, 3, size, size)).shape[2:] == (-(-size // 32),) * 2


def check_mean(name, size):
    torch.manual_seed(0)
    images = torch.randn(2, 3, size, size)
    model = loud(made_real(timm.create_model(name, num_classes=50)), images)
    teacher = make_teacher(f"timm:{name}", model, None, SEEN, size)
    dense, logits = dense_map(teacher, images), model(images)
    assert dense.shape[:2] == (2, 50)
    assert dense.shape[2:] == (size // teacher.stride, size // teacher.stride)
    assert logits.abs().max() > 4
    assert (dense.mean((2, 3)) - logits).abs().max() < 1e-4
    assert dense.std((2, 3)).max() > 0.05  # positions differ: it is a map


@pytest.mark.parametrize("family", TIMM)
def test_the_mean_of_the_map_is_the_logit(family):
    check_mean(*TIMM[family])


@pytest.mark.slow
@pytest.mark.parametrize("family", LARGER)
def test_the_mean_of_the_map_is_the_logit_of_larger_teachers(family):
    check_mean(*LARGER[family])


@pytest.mark.parametrize("name", ["van", "volo_mean"])
def test_the_mean_of_the_map_is_the_logit_of_our_own(name):
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 96)
    if name == "van":
        model = create_model("van", num_classes=50, img_size=64, **SMALL_VAN)
    else:
        model = create_model("volo", num_classes=50, img_size=64, **SMALL_VOLO, **MEAN_HEAD)
    model = loud(made_real(model), images)
    dense = dense_map(make_teacher(name, model, None, SEEN), images)
    assert dense.shape == ((2, 50, 8, 12) if name == "van" else (2, 50, 4, 6))
    assert (dense.mean((2, 3)) - model(images)).abs().max() < 1e-4


@pytest.mark.parametrize("family", ["volo", "lvvit"])
def test_our_token_models_give_the_logits_of_their_dense_head(family):
    """The maximum over positions, halved, is what their own logits add to those of the class token."""
    torch.manual_seed(0)
    settings = SMALL_VOLO if family == "volo" else SMALL_LVVIT
    model = create_model(family, num_classes=50, img_size=64, **settings).eval()
    images = torch.randn(2, 3, 64, 64)
    dense = dense_map(make_teacher(family, model, None, SEEN), images)
    assert dense.shape == (2, 50, 4, 4)
    box = torch.zeros(4, dtype=torch.int64)
    apart = model(images, box=box)
    assert torch.allclose(dense, apart.patch_logits.transpose(1, 2).unflatten(2, (4, 4)), atol=1e-6)
    assert torch.allclose(model(images), apart.logits + 0.5 * dense.amax((2, 3)), atol=1e-6)


def test_normalising_every_position_would_be_far_off():
    """What ConvNeXt's head needs its pooled statistics for."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 96, 96)
    model = loud(made_real(timm.create_model("test_convnext", num_classes=50)), images)
    features = model.forward_features(images)
    positions = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1], 1, 1)
    naive = model.forward_head(positions).reshape(2, -1, 50).mean(1)
    logits = model(images)
    assert (naive - logits).norm() / logits.norm() > 0.1
    dense = dense_map(make_teacher("timm:test_convnext", model, None, SEEN), images)
    assert (dense.mean((2, 3)) - logits).norm() / logits.norm() < 1e-5


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_nfnet"])
def test_rectangles_and_batches_give_the_same_maps(name):
    torch.manual_seed(0)
    model = made_real(timm.create_model(name, num_classes=50)).eval()
    teacher = make_teacher(name, model, None, SEEN)
    images = torch.randn(3, 3, 64, 128)
    dense = dense_map(teacher, images)
    assert dense.shape == (3, 50, 2, 4)
    assert torch.allclose(dense, torch.cat([dense_map(teacher, image[None]) for image in images]), atol=1e-5)
    assert (dense.mean((2, 3)) - model(images)).abs().max() < 1e-4


def test_top_is_the_top_of_the_dense_map(tiny_teacher, monkeypatch):
    images = torch.randn(5, 3, 32, 32)
    dense = dense_map(tiny_teacher, images)
    top = tiny_teacher.top(images, 3)
    assert top.shape == (5, 2, 3, 4, 4)
    assert torch.equal(top[:, 0], dense.sort(1, descending=True)[0][:, :3])
    assert torch.equal(dense.gather(1, top[:, 1].long()), top[:, 0])
    monkeypatch.setattr("volovan.labels.teacher._VALUES", 200)  # one picture at a time
    assert torch.equal(tiny_teacher.top(images, 3), top)


REFUSED = {
    "token": ("test_vit", {}, "its head reads the class token, which has no position"),
    "map": ("test_vit", {"global_pool": "map"}, "it pools by attention, which weighs positions together"),
    "max": ("test_vit4", {"global_pool": "max"}, "it pools by the maximum, whose logits are no mean over positions"),
    "avgmax": ("test_resnet", {"global_pool": "avgmax"}, "it pools by the maximum"),
    "features": ("test_resnet", {"num_classes": 0}, "it has no classes, only features"),
    "hardswish": ("mobilenetv3_small_050", {}, "its head has a Hardswish after the pooling, which is not linear"),
    "gelu": ("test_mambaout", {}, "its head has a GELU after the pooling, which is not linear"),
}
LARGER_REFUSED = {
    "relu": ("ghostnet_050", {}, "its head has a ReLU after the pooling, which is not linear"),
    "vgg": ("vgg11", {}, "its head has a convolution of 7 x 7 positions"),
    "clip": ("resnet50_clip.openai", {"num_classes": 5}, "it pools by attention"),
    "volo": ("volo_d1_224", {}, "or volovan's own VOLO, which reads the same weights"),
}


def check_refused(name, settings, reason):
    model = timm.create_model(name, **settings)
    with pytest.raises(LabelError) as caught:
        make_teacher(f"timm:{name}", model, None, SEEN, max(model.pretrained_cfg["input_size"]))
    text = str(caught.value)
    assert text.startswith(f"timm:{name}: ")
    assert reason in text
    assert "\n" not in text


@pytest.mark.parametrize("head", REFUSED)
def test_heads_that_cannot_be_made_dense_are_refused(head):
    check_refused(*REFUSED[head])


@pytest.mark.slow
@pytest.mark.parametrize("head", LARGER_REFUSED)
def test_heads_of_larger_nets_that_cannot_be_made_dense_are_refused(head):
    check_refused(*LARGER_REFUSED[head])


def test_our_model_with_a_class_token_only_is_refused():
    model = create_model("volo", num_classes=5, img_size=64, **SMALL_VOLO, dense_head=False)
    with pytest.raises(LabelError, match="own: its only head reads the class token, which has no position"):
        make_teacher("own", model, None, SEEN)


def test_any_other_head_is_measured_and_refused():
    """A head that looks linear and is not: nothing but the comparison can tell."""
    model = timm.create_model("test_resnet", num_classes=5)
    inner = model.forward_head
    model.forward_head = lambda x, pre_logits=False: inner(x) * inner(x).sum(1, keepdim=True)
    with torch.no_grad():
        model.fc.weight.mul_(30)
    with pytest.raises(LabelError, match=r"the mean of its map differs from its logits by [\d.]+ \(largest logit"):
        make_teacher("odd", model, None, SEEN)
    with pytest.raises(LabelError, match="it is neither a classifier of timm nor of volovan"):
        make_teacher("odd", nn.Linear(3, 3), None, SEEN)


def test_sizes_that_do_not_fit_are_named():
    model = timm.create_model("test_maxvit")
    with pytest.raises(LabelError, match="timm:test_maxvit: pictures of 64 x 64 pixels do not go through it"):
        make_teacher("timm:test_maxvit", model, None, SEEN, 64)
    model, _, _ = build_timm("test_vit4", "random", 64)
    assert make_teacher("timm:test_vit4", model, None, SEEN, 64).stride == 16


def test_build_timm_reads_files_and_counts_their_classes(tmp_path):
    torch.manual_seed(5)
    model = timm.create_model("test_resnet", num_classes=7)
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}, "epoch": 3}, tmp_path / "w.pth"
    )
    read, classes, seen = build_timm("test_resnet", str(tmp_path / "w.pth"))
    assert (read.num_classes, classes, seen.input_size) == (7, None, (160, 160))
    assert weights_digest(read) == weights_digest(model)
    torch.save({"state_dict": {"fc.weight": torch.zeros(7, 3)}}, tmp_path / "x.pth")
    with pytest.raises(LabelError, match=r"x\.pth does not fit timm:test_resnet: Missing key"):
        build_timm("test_resnet", str(tmp_path / "x.pth"))
    torch.save({"epoch": 3}, tmp_path / "y.pth")
    with pytest.raises(LabelError, match=r"y\.pth holds no state dict: found the entries epoch"):
        build_timm("test_resnet", str(tmp_path / "y.pth"))
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "z.pth")
    with pytest.raises(LabelError, match=r"holds no weights for timm:test_resnet, whose classes fc\.weight counts"):
        build_timm("test_resnet", str(tmp_path / "z.pth"))


def test_random_weights_are_the_same_everywhere():
    one, two = (weights_digest(build_timm("test_resnet", "random")[0]) for _ in range(2))
    assert one == two
    assert one != weights_digest(build_timm("test_resnet", "random")[0].to(torch.float64))
    with pytest.raises(LabelError, match="timm has no such model; did you mean"):
        build_timm("resnet1", "random")
    with pytest.raises(LabelError, match=r"timm:mixer_s32_224: it takes pictures of one size only; use --crop centre"):
        build_timm("mixer_s32_224", "random", whole=True)


def test_vit_takes_whole_pictures():
    model, _, _ = build_timm("test_vit4", "random", whole=True)
    teacher = make_teacher("timm:test_vit4", model, None, SEEN, 96)
    images = torch.randn(1, 3, 96, 160)
    dense = dense_map(teacher, images)
    assert dense.shape == (1, 1000, 6, 10)
    assert (dense.mean((2, 3)) - model(images)).abs().max() < 1e-4


def test_the_head_finds_no_positions_in_a_vector():
    class Flat(nn.Module):
        num_classes = 3

        def forward_features(self, x):
            return x.mean((2, 3))

        def forward_head(self, x):
            return x

    with pytest.raises(LabelError, match="its trunk gives neither one map nor tokens"):
        PooledHead("flat", Flat()).features(torch.zeros(1, 3, 8, 8))
