"""create_model, list_models, and the doors that every model has."""

import json
import pkgutil
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import networks
import volovan
from volovan import create_model, list_models
from volovan.models.config import ConfigError
from volovan.models.layers import DropPath, MixTokenOutput, mix_tokens

SMALL = {
    "van": networks.SMALL["van"],
    "volo": networks.TINY["volo"] | {"img_size": 32, "embed_dims": (12, 24, 24, 24), "stem_width": 4},
    "lvvit": networks.SMALL["lvvit"] | {"img_size": 32},
}


def small(family, **overrides):
    torch.manual_seed(0)
    return create_model(family, num_classes=5, **(SMALL[family] | overrides))


def test_list_models():
    assert {f"van_b{i}" for i in range(7)} <= {*list_models("van_*")}
    assert {f"volo_d{i}" for i in range(1, 6)} <= {*list_models("volo_d?")}
    assert {"lvvit_l", "lvvit_m", "lvvit_s", "lvvit_t"} <= {*list_models("lvvit*")}
    assert list_models() == sorted([*list_models("van_*"), *list_models("volo_*"), *list_models("lvvit_*")])


def test_create_model_names_the_nearest():
    with pytest.raises(ValueError, match="no model 'volo_d9'; did you mean 'volo_d"):
        create_model("volo_d9")
    with pytest.raises(ValueError, match="van_b0: no setting 'lka_kernal'; did you mean 'lka_kernel'"):
        create_model("van_b0", lka_kernal=7)
    with pytest.raises(ValueError, match="no setting 'zzz'; there are name, num_classes"):
        create_model("van_b0", zzz=7)


@pytest.mark.parametrize("name", list_models())
def test_config_rebuilds_the_model_also_from_json(name):
    with torch.device("meta"):
        model = create_model(name, drop_path_rate=0.1, img_size=(64, 96), in_chans=1, num_classes=7)
        assert create_model(**asdict(model.config)).config == model.config
        again = create_model(**json.loads(json.dumps(asdict(model.config))))
    assert again.config == model.config
    assert again.config.name == name
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}


@pytest.mark.parametrize(
    ("family", "field", "value", "expected"),
    [
        ("van", "embed_dims", 3, "one integer per stage"),
        ("van", "embed_dims", "abcd", "one integer per stage"),
        ("van", "mlp_ratios", (1, 2, 3, "a"), "one number per stage"),
        ("van", "mlp_ratios", (float("inf"),) * 4, "leaves no hidden channel"),
        ("van", "use_dw", "no", "True or False"),
        ("van", "use_dw", 0, "True or False"),
        ("van", "layer_scale", "a", "number or None"),
        ("van", "gate", None, "string"),
        ("volo", "mixers", "outlook", "one string per stage"),
        ("volo", "downsamples", (1, 0, 0, 0), "one True or False per stage"),
        ("volo", "outlook_kernel", 3.0, "integer"),
        ("volo", "img_size", (224, "a"), r"positive integer or \(height, width\)"),
        ("lvvit", "drop_path_rate", "a", "number"),
        ("lvvit", "norm_eps", True, "number"),
        ("lvvit", "num_heads", (6,), "integer"),
    ],
)
def test_config_refuses_fields_of_a_wrong_type(family, field, value, expected):
    with pytest.raises(ConfigError, match=expected) as error:
        create_model(family, **{field: value})
    assert str(error.value).startswith(f"{family}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [None, 3, ["van"]])
def test_create_model_wants_a_string(name):
    with pytest.raises(ValueError, match=r"the name of a model is .*, expected a string"):
        create_model(name)


def test_config_is_frozen():
    with pytest.raises(AttributeError):
        small("van").config.gate = "sum"


def test_preprocessing_is_that_of_the_paper():
    def of(name, **overrides):
        with torch.device("meta"):
            return create_model(name, **overrides).preprocessing

    assert of("van_b2").mean == (0.5, 0.5, 0.5)
    assert of("van_b2").crop_pct == 0.9
    assert of("van_b6").mean == (0.485, 0.456, 0.406)
    assert of("volo_d3").crop_pct == 0.96
    assert of("volo_d5", img_size=448).crop_pct == 1.15
    assert of("volo_d5", img_size=(448, 320)).input_size == (448, 320)
    assert of("lvvit_s").crop_pct == 0.9
    assert of("lvvit_m").crop_pct == 1.0
    assert of("volo_d1", in_chans=1).std == (0.5,)


@pytest.mark.parametrize("family", SMALL)
@pytest.mark.parametrize("size", [(32, 32), (32, 80), (53, 47)], ids=str)
def test_model_runs_at_any_size(family, size):
    model = small(family).eval()
    assert model(torch.randn(2, 3, *size)).shape == (2, 5)
    maps = model.forward_features(torch.randn(2, 3, *size))
    assert [m.shape[1] for m in maps] == list(model.channels)


@pytest.mark.parametrize("size", [(224, 224), (256, 320), (97, 131), (32, 32)], ids=str)
def test_volo_d1_runs_at_any_size(size):
    torch.manual_seed(0)
    model = create_model("volo_d1").eval()
    with torch.no_grad():
        logits = model(torch.randn(1, 3, *size))
    assert logits.shape == (1, 1000)
    assert logits.isfinite().all()


@pytest.mark.parametrize("family", ["volo", "lvvit"])
def test_position_embedding_is_resized_as_if_built_for_the_size(family):
    square, wide = small(family, img_size=48).eval(), small(family, img_size=(48, 80)).eval()
    assert wide.config.token_grid((48, 80)) == (3, 5)
    x = torch.randn(1, 3, 48, 80)
    state = square.state_dict()
    position = state["pos_embed"]
    if family == "lvvit":  # the class token's entry stays as it is
        first, position = position[:, :1], position[:, 1:].unflatten(1, (3, 3))
    position = F.interpolate(position.permute(0, 3, 1, 2), size=(3, 5), mode="bicubic").permute(0, 2, 3, 1)
    state["pos_embed"] = position if family == "volo" else torch.cat([first, position.flatten(1, 2)], dim=1)
    wide.load_state_dict(state)
    assert_close(square(x), wide(x))


@pytest.mark.parametrize("family", SMALL)
def test_model_refuses_wrong_input(family):
    model = small(family)
    with pytest.raises(ValueError, match=r"input has shape \(1, 1, 32, 32\), expected \(B, 3, H, W\)"):
        model(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ValueError, match="input has shape"):
        model(torch.zeros(3, 32, 32))
    with pytest.raises(ValueError, match=r"input is of dtype torch\.uint8, expected float images"):
        model(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match="input is a list, expected float images"):
        model([[0.0]])
    if family != "van":
        with pytest.raises(ValueError, match="input is 14 x 40, expected at least 15 x 15"):
            model(torch.zeros(1, 3, 14, 40))
        assert model(torch.zeros(2, 3, 15, 40)).shape == (2, 5)


@pytest.mark.parametrize("family", SMALL)
def test_taps_are_blocks_in_order(family):
    model = small(family).eval()
    x = torch.randn(1, 3, 32, 32)
    blocks = {"van": 3, "volo": 4, "lvvit": 2}[family]
    every = model.forward_features(x, taps=range(blocks))
    assert len(every) == blocks
    assert_close(model.forward_features(x, taps=[blocks - 1, 0]), [every[0], every[-1]])
    assert model.forward_features(x, taps=[]) == []
    if family != "van":
        assert_close(model.forward_features(x)[-1], every[-1])
    with pytest.raises(ValueError, match=f"tap {blocks} does not exist, expected block numbers from 0 to {blocks - 1}"):
        model.forward_features(x, taps=[blocks])
    for taps in (0, 1.5, [1.5], ["a"], "a", [True], [None]):
        with pytest.raises(ValueError, match=f"taps (is|has) .*, expected .*block numbers from 0 to {blocks - 1}"):
            model.forward_features(x, taps=taps)


@pytest.mark.parametrize("family", SMALL)
def test_reset_classifier(family):
    model = small(family).double().eval()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    model.reset_classifier(3)
    assert model(x).shape == (2, 3)
    assert model.config.num_classes == 3
    model.reset_classifier(0)
    assert model(x).shape == (2, model.channels[-1])
    assert create_model(**asdict(model.config)).config == model.config


@pytest.mark.parametrize("family", SMALL)
def test_layer_groups_name_every_parameter_once(family):
    model = small(family)
    groups = model.layer_groups()
    for name, _ in model.named_parameters():
        hits = [p for group in groups for p in group if name == p or (p.endswith(".") and name.startswith(p))]
        assert len(hits) == 1, (name, hits)
    expected = {"van": 1 + 3 + 1, "volo": 1 + 4 + 2 + 1, "lvvit": 1 + 2 + 1}[family]
    assert len(groups) == expected


def test_no_weight_decay():
    assert small("volo").no_weight_decay() == small("lvvit").no_weight_decay() == {"pos_embed", "cls_token"}
    assert small("van").no_weight_decay() == set()


@pytest.mark.parametrize("family", ["volo", "lvvit"])
def test_box_is_undone_in_the_patch_logits_and_may_be_empty(family):
    model = small(family, img_size=64).eval()
    x = torch.randn(3, 3, 64, 64)
    empty = model(x, box=torch.tensor([2, 2, 2, 2]))
    assert isinstance(empty, MixTokenOutput)
    assert_close(empty.logits + 0.5 * empty.patch_logits.amax(1), model(x))
    assert empty.patch_logits.shape == (3, 16, 5)
    whole = model(x, box=torch.tensor([0, 0, 4, 4]))
    assert_close(whole.logits, empty.logits.flip(0))
    assert_close(whole.patch_logits, empty.patch_logits)
    with pytest.raises(ValueError, match="expected 4 integers"):
        model(x, box=torch.zeros(4))
    with pytest.raises(ValueError, match="expected 4 integers"):
        model(x, box=torch.ones(4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"box is \(0, 0, 2, 2\), expected an integer tensor of 4 numbers"):
        model(x, box=(0, 0, 2, 2))


def test_mix_tokens_takes_the_box_from_the_reversed_batch():
    x = torch.randn(3, 4, 6, 2)
    got = mix_tokens(x, torch.tensor([1, 0, 2, 2]), scale=2)
    want = x.clone()
    want[:, 2:4, 0:4] = x.flip(0)[:, 2:4, 0:4]
    assert torch.equal(got, want)


@pytest.mark.parametrize("family", ["volo", "lvvit"])
def test_plain_logits_in_training_mode_are_those_of_evaluation(family):
    model = small(family)
    x = torch.randn(2, 3, 32, 32)
    want = model.eval()(x)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    assert_close(model(x), want)


def test_drop_path_keeps_the_mean_and_drops_whole_samples():
    torch.manual_seed(0)
    drop = DropPath(0.25)
    out = drop(torch.ones(4000, 3, 2))
    assert_close(out.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert torch.equal(out.amin((1, 2)), out.amax((1, 2)))
    assert out.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(drop.eval()(out), out)


HEAVY = ("timm", "torchvision", "transformers", "scipy", "PIL", "onnx", "datasets")


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_import_alone_brings_no_torch():
    assert run("import sys, volovan; dir(volovan); volovan.__version__; print('torch' in sys.modules)") == ["False"]


def test_import_is_light():
    code = f"""
import time, sys
import torch
start = time.process_time()
import volovan
volovan.create_model, volovan.list_models, volovan.load_weights, volovan.ops
print(time.process_time() - start)
print(*[name for name in {HEAVY} if name in sys.modules])
"""
    best = min((run(code) for _ in range(3)), key=lambda words: float(words[0]))
    assert best[1:] == []
    assert float(best[0]) < 0.3


def test_names_stay_what_they_are_when_all_pages_are_imported():
    """A page volovan/NAME would take the place of a function of that name, from its first import on."""
    pages = {page.name for page in pkgutil.iter_modules(volovan.__path__)}
    assert pages & set(volovan.__all__) == {"ops"}
    said = run("import volovan; volovan.load; print(callable(volovan.export), callable(volovan.pack))")
    assert said == ["True", "True"]


def test_unknown_attribute_names_what_there_is():
    with pytest.raises(AttributeError, match="has no attribute 'create'; it has create_detector, create_model"):
        volovan.create  # noqa: B018
