"""volovan.fuse: the same function, held in float64 against the network that it was made of."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

import volovan
from volovan.models.fuse import FusedConv2d, FusedVANBlock, fuse
from volovan.models.layers import SteadyBatchNorm2d
from volovan.models.variants import Model

VAN = {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 2, 1), "mlp_ratios": (2, 2, 2, 2)}
VOLO = {"depths": (1, 1), "embed_dims": (16, 32), "num_heads": (2, 4), "mlp_ratios": (2, 2), "stem_width": 8,
        "mixers": ("outlook", "attention"), "downsamples": (True, False)}  # fmt: skip
LVVIT = {"depth": 2, "embed_dim": 32, "num_heads": 2, "stem_width": 8, "residual_divisor": 3.0}
TRUNKS = {"van": VAN, "volo": VOLO, "lvvit": LVVIT}
DENSE = {
    "segment": (volovan.create_segmenter, ("fpn", "upernet", "ham")),
    "saliency": (volovan.create_saliency_model, ("edn",)),
    "pose": (volovan.create_pose_model, ("simple",)),
}


def awake(network):
    """Random statistics, scales and shifts, so that folding them wrongly shows."""
    random = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.5, generator=random)
            module.running_var.uniform_(0.5, 2, generator=random)
            module.weight.data.uniform_(-1.5, 1.5, generator=random)
            module.bias.data.normal_(0, 0.5, generator=random)
    for name, parameter in network.named_parameters():
        if "layer_scale" in name:
            parameter.data.uniform_(-1, 1, generator=random)
        elif name.endswith("bias"):
            parameter.data.normal_(0, 0.2, generator=random)
    return network.eval()


def make(trunk, **options):
    torch.manual_seed(0)
    return awake(volovan.create_model(trunk, num_classes=5, **TRUNKS[trunk], **options))


def images(*size, dtype=torch.float64):
    return torch.randn(size or (2, 3, 64, 96), generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(
        dtype
    )


def answers(network, x):
    found = network(x)
    return [found] if isinstance(found, torch.Tensor) else list(found)


def norms(network):
    return [module for module in network.modules() if type(module) in (nn.BatchNorm2d, SteadyBatchNorm2d)]


def same(network, x=None):
    """The fused network, which was held against its origin."""
    fused, x = fuse(network.double()), images() if x is None else x
    with torch.no_grad():
        for got, want in zip(answers(fused, x), answers(network, x), strict=True):
            assert_close(got, want, atol=1e-11, rtol=1e-11)
    return fused


@pytest.mark.parametrize("trunk", TRUNKS)
def test_backbones_answer_the_same_without_batchnorm(trunk):
    network = make(trunk)
    fused = same(network)
    assert norms(network)
    assert not norms(fused)
    assert isinstance(fused, Model.__args__)  # type: ignore[attr-defined]
    assert all(not parameter.requires_grad for parameter in fused.parameters())
    with torch.no_grad():
        for got, want in zip(fused.forward_features(images()), network.forward_features(images()), strict=True):
            assert_close(got, want, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("trunk", ["van", "volo", "lvvit"])
@pytest.mark.parametrize(("task", "head"), [(task, head) for task, (_, heads) in DENSE.items() for head in heads])
def test_dense_networks_answer_the_same_without_batchnorm(task, head, trunk):
    classes = {} if task == "saliency" else {"num_classes": 4}
    torch.manual_seed(0)
    small = {"upernet": {"channels": 16}}.get(head)
    network = awake(DENSE[task][0](trunk, head=head, trunk_options=TRUNKS[trunk], head_options=small, **classes))
    assert not norms(same(network))


def test_heads_of_detection_answer_the_same():
    network = awake(volovan.create_detector("van", head="cascade_rcnn", num_classes=3, trunk_options=VAN))
    fused = fuse(network.double())
    assert not norms(fused)
    regions = torch.randn(2, 256, 7, 7, dtype=torch.float64)
    place = next(
        name
        for name, module in network.named_modules()
        if name.endswith(".convs") and isinstance(module, nn.Sequential)
    )
    with torch.no_grad():
        want = network.get_submodule(place)(regions)
        assert_close(fused.get_submodule(place)(regions), want, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize(
    "options",
    [{"layer_scale": None}, {"output_stride": 8}, {"lka_kernel": 35, "lka_dilation": 4}, {"norm_eps": 1e-5}],
    ids=str,
)
def test_forms_of_van_that_keep_its_attention_are_fused(options):
    assert sum(isinstance(module, FusedVANBlock) for module in same(make("van", **options)).modules()) == 5


@pytest.mark.parametrize(
    "options",
    [{"gate": "sum"}, {"gate": "none"}, {"sigmoid": True}, {"use_dwd": False}, {"dense_kernel": True, "lka_kernel": 5}],
    ids=str,
)
def test_ablations_of_van_keep_their_blocks(options):
    assert not any(isinstance(module, FusedVANBlock) for module in same(make("van", **options)).modules())


@pytest.mark.parametrize("trunk", TRUNKS)
def test_single_precision_errs_at_most_twice_as_much(trunk):
    network, x = make(trunk), images()
    with torch.no_grad():
        plain, fused = network(x.float()), fuse(network)(x.float())
        want = network.double()(x)
    floor = 20 * torch.finfo(torch.float32).eps * want.abs().max()
    assert (fused - want).abs().max() <= max(2 * (plain - want).abs().max(), floor)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_under_autocast_it_errs_at_most_twice_as_much(trunk):
    network, x = make(trunk), images(8, 3, 64, 64)
    fused = fuse(network)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            plain, found = network(x.float()), fused(x.float())
        want = network.double()(x)
    assert (found - want).square().mean().sqrt() <= 2 * (plain - want).square().mean().sqrt()


def test_the_network_itself_stays_as_it_is():
    network = make("van").train()
    before, x = copy.deepcopy(network.state_dict()), images(dtype=torch.float32)
    fused = fuse(network)
    assert network.training
    assert not fused.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    network(x).sum().backward()  # and still learns
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    "place", ["block1.0", "block1.0.attn.proj_1", "block1.0.mlp.dwconv", "block1.0.norm2", "patch_embed1.proj"]
)
def test_what_a_hook_watches_stays_as_it_is(place):
    network, seen = make("van"), []
    network.get_submodule(place).register_forward_hook(lambda module, *rest: seen.append(module))
    fused = same(network)
    seen.clear()
    with torch.no_grad():
        fused(images())
    assert seen == [fused.get_submodule(place)]


def test_an_adapter_in_the_place_of_a_part_stays():
    class Adapter(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    network = make("van")
    adapter = Adapter(8, 8, 1)
    network.block1[0].attn.proj_1 = adapter
    fused = same(network)
    assert isinstance(fused.block1[0].attn.proj_1, Adapter)
    assert isinstance(fused.block2[0], FusedVANBlock)


def test_a_convolution_that_is_called_in_two_places_is_not_folded_twice():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    network = nn.Sequential(nn.Sequential(conv, nn.BatchNorm2d(4)), nn.Sequential(conv, nn.BatchNorm2d(4), nn.ReLU()))
    same(awake(network), images(2, 4, 8, 8))


def test_sequences_that_only_look_like_it_are_left_alone():
    network = nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding="same"), nn.GELU(approximate="tanh"),
        nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, padding=1),
        nn.ConvTranspose2d(6, 6, 2, stride=2, groups=2), nn.BatchNorm2d(6),
        nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6, affine=False), nn.GELU(),
        nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6, track_running_stats=False), nn.ReLU(),
    )  # fmt: skip
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2)
    fused = same(network.eval(), images(2, 4, 8, 8))
    assert len(norms(fused)) == 3  # before a padded convolution, behind groups turned round, without statistics
    assert [type(module).__name__ for module in fused][:4] == ["Conv2d", "ReLU", "Conv2d", "GELU"]


def test_copies_files_and_dtypes(tmp_path):
    x = images(dtype=torch.float32)
    fused = fuse(make("van"))
    with torch.no_grad():
        want = fused(x)
        for other in (copy.deepcopy(fused), pickle.loads(pickle.dumps(fused)), fuse(fused)):
            assert_close(other(x), want, atol=1e-5, rtol=1e-5)
        torch.save(fused.state_dict(), tmp_path / "fused.pt")
        other = fuse(make("van", layer_scale=0.5))
        other.load_state_dict(torch.load(tmp_path / "fused.pt", weights_only=True))
        assert_close(other(x), want, atol=1e-5, rtol=1e-5)
        assert_close(fused.double()(x.double()).float(), want, atol=1e-4, rtol=1e-4)
        assert_close(fused.float()(x), want, atol=1e-5, rtol=1e-5)


def test_gradients_of_the_picture_flow_through_it():
    network, x = make("van").requires_grad_(False), images(dtype=torch.float32)
    grads = []
    for model in (network, fuse(network)):
        leaf = x.clone().requires_grad_()
        model(leaf)[:, 0].sum().backward()
        grads.append(leaf.grad)
    assert_close(grads[0], grads[1], atol=1e-5, rtol=1e-4)


def test_it_is_exported_as_plain_operations():
    fused, x = fuse(make("van")), images(dtype=torch.float32)
    graph = torch.export.export(fused, (x,))
    assert not [node for node in graph.graph.nodes if "mkldnn" in str(node.target)]
    with torch.no_grad():
        assert_close(graph.module()(x), fused(x), atol=1e-5, rtol=1e-5)


def test_it_is_traced_by_fx_counters():
    from torch.utils.flop_counter import FlopCounterMode

    network, x = make("van"), images(dtype=torch.float32)
    counts = []
    for model in (network, fuse(network)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(x)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_a_convolution_says_what_it_ends_in():
    fused = FusedConv2d(nn.Conv2d(3, 4, 1), "gelu")
    assert repr(fused) == "FusedConv2d(3, 4, kernel_size=(1, 1), stride=(1, 1), act=gelu)"
    x = torch.randn(1, 3, 4, 4)
    with torch.no_grad():
        assert_close(fused(x), F.gelu(F.conv2d(x, fused.weight, fused.bias)))
