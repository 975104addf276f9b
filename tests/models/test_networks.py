"""Where in a file the network is: every way in which training scripts wrap a state dict, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import volovan
import volovan.models.timm
from networks import TINY, tiny
from volovan.cli import main
from volovan.files.checkpoint import write_checkpoint
from volovan.labels.errors import LabelError
from volovan.labels.teacher import build_timm
from volovan.models.weights import WeightsError, load_weights, to_huggingface, to_mmpretrain

State = dict[str, Tensor]


def drawn(family: str = "van", seed: int = 0) -> nn.Module:
    """A tiny network whose weights the seed decides."""
    torch.manual_seed(seed)
    return tiny(family)


def under(beginning: str, state: State) -> State:
    return {beginning + key: tensor for key, tensor in state.items()}


def moved(state: State) -> State:
    return {key: t + 1 if t.is_floating_point() else t for key, t in state.items()}


def assert_holds(model: nn.Module, state: State) -> None:
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


WRAPS: dict[str, Callable[[State], Any]] = {
    "an entry of any name": lambda s: {"net_g": s, "epoch": 3},
    "model_state_dict": lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {}}, "epoch": 3},
    "three deep": lambda s: {"checkpoint": {"student": {"weights": s}}},
    "a list": lambda s: [s, {"epoch": 1}],
    "lightning": lambda s: {"state_dict": under("model.", s), "epoch": 3, "pytorch-lightning_version": "2.4.0"},
    "lightning, compiled": lambda s: {"state_dict": under("net._orig_mod.", s)},
    "lightning, with a loss": lambda s: {"state_dict": {**under("model.", s), "criterion.weight": torch.ones(5)}},
    "FSDP": lambda s: under("_fsdp_wrapped_module.", s),
    "FSDP of compiled DDP": lambda s: {"state_dict": under("module._orig_mod._fsdp_wrapped_module.", s)},
    "checkpointed blocks": lambda s: {
        key.replace(".attn.", "._checkpoint_wrapped_module.attn.").replace(".mlp.", "._orig_mod.mlp."): t
        for key, t in s.items()
    },
    "AveragedModel": lambda s: {"n_averaged": torch.tensor(7), **under("module.", s)},
    "counted by thop": lambda s: {**s, "total_ops": torch.zeros(1), "head.total_params": torch.zeros(1)},
    "the same twice": lambda s: {**under("student.", s), **under("teacher.", s)},
    "parameters of torch": lambda s: {"model": {k: nn.Parameter(t, requires_grad=False) for k, t in s.items()}},
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize("family", TINY)
def test_a_network_is_found_under_any_entry_and_any_beginning(tmp_path, family, wrap):
    state = drawn(family).state_dict()
    torch.save(wrap(state), tmp_path / "w.pth")
    model = drawn(family, seed=1)
    load_weights(model, tmp_path / "w.pth")
    assert_holds(model, state)
    assert_holds(tiny(family, weights=tmp_path / "w.pth"), state)


@pytest.mark.parametrize("write", [to_mmpretrain, to_huggingface])
@pytest.mark.parametrize("beginning", ["model.", "module.net."])
def test_names_of_others_are_found_under_a_beginning_too(tmp_path, write, beginning):
    torch.save({"state_dict": under(beginning, write(drawn()))}, tmp_path / "w.pth")
    model = drawn(seed=1)
    load_weights(model, tmp_path / "w.pth")
    assert_holds(model, drawn().state_dict())


def test_what_stands_beside_the_network_is_named(tmp_path):
    state = drawn().state_dict()
    torch.save(
        {**under("model.", state), "criterion.weight": torch.ones(5), "n_averaged": torch.ones(1)}, tmp_path / "w"
    )
    said = load_weights(drawn(seed=1), tmp_path / "w").notes
    assert said == ("the network is what begins with model.; beside it were left out: criterion.weight",)


def test_a_trunk_inside_another_network_is_taken_and_said(tmp_path):
    state = {k: t for k, t in drawn().state_dict().items() if not k.startswith("head.")}
    content = {**under("encoder.", state), "decoder.0.weight": torch.ones(2, 2)}
    torch.save({"state_dict": content}, tmp_path / "w.pth")
    model = volovan.create_segmenter("van", num_classes=3, trunk_options=TINY["van"])
    notes = load_weights(model, tmp_path / "w.pth").notes
    assert torch.equal(model.trunk.norm4.weight, state["norm4.weight"])
    assert any("decoder.0.weight" in note for note in notes)
    assert any("head fpn is new" in note for note in notes)


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda s, a: {"model": s, "ema": a}, "the file holds ema, model; ema was taken, the averaged weights"),
        (lambda s, a: {"model_ema": under("module.", a), "model": s}, "model_ema (module.*) was taken"),
        (lambda s, a: {"state_dict": {**under("model.", s), **under("ema_model.", a)}}, None),
        (lambda s, a: {"state_dict": {**under("net.", s), **under("net_ema.module.", a)}}, "net_ema"),
        (lambda s, a: {"model": s, "ema_state_dict": a}, "ema_state_dict was taken"),
        # these two put the average in the place of the network
        (
            lambda s, a: {"state_dict": a, "ema_state_dict": {"steps": torch.ones(1), **under("module.", s)}},
            "state_dict",
        ),
        (
            lambda s, a: {"state_dict": under("model.", a), "current_model_state": under("model.", s)},
            "state_dict (model.*) was taken",
        ),
    ],
    ids=["ema", "model_ema", "lightning", "swapped names", "ema_state_dict", "mmengine", "lightning callback"],
)
def test_the_average_is_preferred_and_said(tmp_path, wrap, said):
    state = drawn().state_dict()
    torch.save(wrap(state, moved(state)), tmp_path / "w.pth")
    model = drawn(seed=1)
    notes = load_weights(model, tmp_path / "w.pth").notes
    assert_holds(model, moved(state))
    assert any((said or "the averaged weights") in note for note in notes)
    load_weights(model, tmp_path / "w.pth", ema=False)
    assert_holds(model, state)


def test_an_average_of_parameters_alone_keeps_the_buffers_of_the_network(tmp_path):
    model = drawn()
    average = {name: parameter.detach() + 1 for name, parameter in model.named_parameters()}
    torch.save({"model": model.state_dict(), "ema": average}, tmp_path / "w.pth")
    fresh = drawn(seed=1)
    load_weights(fresh, tmp_path / "w.pth")
    assert_holds(fresh, {**model.state_dict(), **average})


def test_the_averaged_model_of_torch_loads(tmp_path):
    model = drawn()
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    averaged.update_parameters(model)
    torch.save(averaged.state_dict(), tmp_path / "w.pth")
    fresh = drawn(seed=1)
    assert load_weights(fresh, tmp_path / "w.pth").notes == ("these are averaged weights",)
    assert_holds(fresh, model.state_dict())


def test_of_several_networks_the_one_that_fits_is_taken(tmp_path):
    state = drawn().state_dict()
    wide = tiny("van", embed_dims=(16, 16, 16, 16)).state_dict()
    torch.save({"teacher": wide, "student": state}, tmp_path / "w.pth")
    model = drawn(seed=1)
    load_weights(model, tmp_path / "w.pth")
    assert_holds(model, state)
    volo = drawn("volo").state_dict()
    large = tiny("volo", embed_dims=(48, 96, 96, 96), img_size=96).state_dict()
    torch.save({"teacher": large, "student": volo}, tmp_path / "w.pth")
    settings = {key: value for key, value in TINY["volo"].items() if key != "img_size"}
    made = volovan.create_model("volo", weights=tmp_path / "w.pth", num_classes=10, **settings)
    assert made.config.img_size == (64, 64)
    assert_holds(made, volo)


@pytest.mark.parametrize(
    "content",
    [
        lambda s: {"student": s, "teacher": moved(s)},
        lambda s: {"state_dict": {**under("student.", s), **under("teacher.", moved(s))}},
        lambda s: {**under("student.", s), **under("teacher.", moved(s))},
    ],
)
def test_networks_that_fit_alike_are_refused_and_the_remedy_works(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    state = drawn().state_dict()
    torch.save(content(state), "w.pth")
    model = drawn(seed=1)
    with pytest.raises(WeightsError, match=r"w\.pth holds 2 networks that fit alike: .*student.*teacher") as found:
        load_weights(model, "w.pth")
    assert_holds(model, drawn(seed=1).state_dict())
    exec(str(found.value).split("by itself: ")[1], {"torch": torch})
    load_weights(model, "one.pth")
    assert_holds(model, moved(state))


# Numbers that are not finite


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_everywhere(tmp_path, value):
    model = drawn()
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state["block2.0.norm1.running_var"][3] = value
    torch.save({"state_dict": under("model.", state)}, tmp_path / "w.pth")
    says = rf"w\.pth: .*block2\.0\.norm1\.running_var holds 1 of 16 numbers that are not finite \({value}\)"
    for load in (
        lambda: load_weights(model, tmp_path / "w.pth"),
        lambda: tiny("van", weights=tmp_path / "w.pth"),
        lambda: volovan.create_segmenter("van", weights=tmp_path / "w.pth", num_classes=2, trunk_options=TINY["van"]),
        lambda: volovan.create_saliency_model("van", weights=tmp_path / "w.pth", trunk_options=TINY["van"]),
    ):
        with pytest.raises(WeightsError, match=says):
            load()
    assert_holds(model, drawn().state_dict())


def test_own_checkpoints_and_files_of_timm_are_asked_too(tmp_path):
    model = drawn()
    about = {"task": "classify", "config": model.config.__dict__, "classes": list("abcdefghij"), "eval_mode": "center"}
    seen = {"input_size": [32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "crop_pct": 1.0}
    state = {**model.state_dict(), "head.bias": torch.full((10,), float("nan"))}
    write_checkpoint(tmp_path / "best.safetensors", {"model": state, "task": {**about, "preprocessing": seen}})
    with pytest.raises(WeightsError, match=r"best\.safetensors: head\.bias holds 10 of 10 numbers"):
        volovan.load(tmp_path / "best.safetensors")
    small = timm.create_model("test_vit4", num_classes=3)
    torch.save({"model": {**small.state_dict(), "head.bias": torch.full((3,), float("nan"))}}, tmp_path / "t.pth")
    with pytest.raises(LabelError, match=r"t\.pth: head\.bias holds 3 of 3 numbers"):
        build_timm("test_vit4", str(tmp_path / "t.pth"))
    torch.save(under("model.", small.state_dict()), tmp_path / "u.pth")
    assert build_timm("test_vit4", str(tmp_path / "u.pth"))[0].num_classes == 3
    whole = {**timm.create_model("van_b0.volovan").state_dict(), "head.bias": torch.full((1000,), float("nan"))}
    torch.save(whole, tmp_path / "v.pth")
    with pytest.raises(WeightsError, match=r"head\.bias holds 1000 of 1000 numbers"):
        timm.create_model("van_b0.volovan", pretrained=True, pretrained_cfg_overlay={"file": str(tmp_path / "v.pth")})


# What is said where


def _said(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    return capfd.readouterr().err


PYTHON = ("weights=", "create_", "pretrained=", "volovan.load", "strict=")


def test_the_command_line_speaks_of_its_own_options(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    other = tmp_path / "other.safetensors"
    save_file(volovan.create_model("van_b1", num_classes=3).state_dict(), other)
    for number in range(8):
        folder = tmp_path / "pictures" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (30 * number, 0, 0)).save(folder / f"{number}.png")
    source = ["--data.source", str(tmp_path / "pictures"), "--out", str(tmp_path / "run")]
    fit = ["fit", "finetune_folder", *source, "--train.device", "cpu", "--train.workers", "0"]
    cases = {
        "--model.weights null": [*fit, "--model.name", "van_b0", "--model.weights", "pretrained"],
        "--model.weights FILE": [*fit, "--model.name", "van_b0", "--model.weights", "hf:no/one"],
        "--model.name van_b2": [*fit, "--model.name", "van_b0", "--model.weights", "van_b2"],
        "--model.name van_b1": [*fit, "--model.name", "van_b0", "--model.weights", str(other)],
        "--weights FILE": ["predict", "van_b0", str(tmp_path)],
        "name van_b1 as the model": ["predict", "van_b0", str(tmp_path), "--weights", str(other)],
    }
    for words, typed in cases.items():
        said = _said(capfd, *typed)
        assert words in said, said
        assert not [word for word in PYTHON if word in said], said
        assert len(said.splitlines()) <= 2, said
    with pytest.raises(WeightsError, match="pass its path as weights="):
        volovan.create_model("van_b0", pretrained=True)
