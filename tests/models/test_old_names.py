"""Settings of networks as they were called once: in programs, recipes, on the command line and in checkpoints."""

import json
from dataclasses import asdict, fields

import pytest
import timm
import torch

import volovan
import volovan.models.timm
from volovan.cli import main
from volovan.models.config import ConfigError
from volovan.models.dense import DenseConfig, build_dense
from volovan.models.lvvit import LVViTConfig
from volovan.models.van import VANConfig
from volovan.models.volo import VOLOConfig
from volovan.room.network import differences
from volovan.segment.network import Segmenter
from volovan.use.recipes import OLD_OPTIONS, find_recipe, read_recipe

VAN = {"depths": (1, 1, 1, 1), "mlp_ratios": (2, 2, 2, 2), "num_classes": 3}
WIDTHS = (8, 8, 16, 16)


def test_one_word_means_one_thing_in_all_families():
    """What two families have under one name is of one kind, and no old name is a name of the same family."""
    kinds = {}
    for config in (VANConfig, VOLOConfig, LVViTConfig):
        names = {field.name: field.type for field in fields(config)}
        assert not config.OLD_NAMES.keys() & names.keys()
        assert set(config.OLD_NAMES.values()) <= names.keys()
        for name, kind in names.items():
            kinds.setdefault(name, set()).add(str(kind))
    alike = {name for name, found in kinds.items() if len(found) == 1}
    assert {"embed_dims", "depths", "mlp_ratios", "proj_drop_rate"} <= alike
    assert kinds.keys() - alike == {"num_heads"}  # one number in LV-ViT, which has one stage
    old = VANConfig.OLD_NAMES | VOLOConfig.OLD_NAMES
    assert {name: old[name] for name in OLD_OPTIONS} == OLD_OPTIONS


def test_old_names_make_the_same_network():
    new = volovan.create_model("van", embed_dims=WIDTHS, proj_drop_rate=0.1, **VAN)
    assert volovan.create_model("van", dims=WIDTHS, drop_rate=0.1, **VAN).config == new.config
    assert volovan.create_model("volo_d1", layers=(1, 1, 0, 0)).config.depths == (1, 1, 0, 0)
    assert volovan.create_model("volo_d1", drop_rate=0.2).config.drop_rate == 0.2  # before the heads, as it was
    trunk = {"layers": (1, 1, 0, 0)}
    assert volovan.create_segmenter("volo_d1", num_classes=2, trunk_options=trunk).config.trunk["depths"] == (
        1,
        1,
        0,
        0,
    )
    assert timm.create_model("volo_d1.volovan", layers=(1, 1, 0, 0)).config.depths == (1, 1, 0, 0)


def test_both_names_at_once_are_refused():
    with pytest.raises(ConfigError, match="dims and embed_dims are the same setting; say embed_dims alone"):
        volovan.create_model("van", dims=WIDTHS, embed_dims=WIDTHS, **VAN)


def test_a_description_with_old_names_builds_its_network():
    model = volovan.create_segmenter("van", num_classes=2, trunk_options={"embed_dims": WIDTHS, "depths": (1, 1, 1, 1)})
    said = json.loads(json.dumps(asdict(model.config)))
    said["trunk"]["dims"] = said["trunk"].pop("embed_dims")
    said["trunk"]["drop_rate"] = said["trunk"].pop("proj_drop_rate")
    again = build_dense(Segmenter, DenseConfig(**said))
    assert again.config.trunk["embed_dims"] == list(WIDTHS)
    assert "dims" not in again.config.trunk
    again.load_state_dict(model.state_dict())


@pytest.mark.parametrize("word", [["--model.options.layers", "[1,1]"], ["--model.options.layers=[1,1]"]])
def test_old_words_are_laid_over_new_recipes(word):
    settings, text = read_recipe(find_recipe("digits_volo"), word)
    assert list(settings.model.options["depths"]) == [1, 1]
    assert "layers" not in text


def test_new_words_are_laid_over_old_recipes(tmp_path):
    recipe = tmp_path / "old.yaml"
    recipe.write_text("model: {name: van, options: {dims: [8, 8], depths: [1, 1]}}")
    assert list(read_recipe(recipe, [])[0].model.options["embed_dims"]) == [8, 8]
    settings = read_recipe(recipe, ["--model.options.embed_dims", "[4, 4]"])[0]
    assert list(settings.model.options["embed_dims"]) == [4, 4]
    assert "dims" not in settings.model.options
    about = asdict(VANConfig(embed_dims=(8, 8), depths=(1, 1), mlp_ratios=(4, 4), strides=(4, 2), patch_kernels=(7, 3)))
    about["dims"] = about.pop("embed_dims")
    said = {key: (then, now) for key, then, now in differences(settings, about)}
    assert [list(values) for values in said["model.embed_dims"]] == [[8, 8], [4, 4]]


def test_a_run_of_old_names_goes_on_and_is_used(tmp_path, capsys):
    """A run whose recipe and checkpoints say `dims`: resumed, and the start of another one."""
    small = ["--train.tensorboard", "false", "--data.limit", "32", "--train.batch_size", "16", "--train.workers", "0"]
    run = tmp_path / "run"
    assert main(["fit", "digits_van", "--out", str(run), "--train.max_steps", "1", *small]) == 0
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("embed_dims:", "dims:").replace("max_steps: 1", "max_steps: 2"))
    assert main(["fit", "--resume", str(run)]) == 0
    assert torch.isfinite(volovan.load(run).model.head.weight).all()
    words = ["--model.weights", str(run), "--out", str(tmp_path / "next"), "--train.max_steps", "1"]
    assert main(["fit", "digits_van", *words, *small]) == 0
