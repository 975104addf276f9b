"""Loading into models: golden outputs, adaptations, misfits, and the table of published weights."""

import json
import logging
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

import volovan
from volovan.files.checkpoint import digest, write_checkpoint
from volovan.models import weights
from volovan.models.weights import WeightsError, download, load_weights, safe_read
from volovan.models.weights.find import config_of, read_weights

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = {
    "van": {"embed_dims": (8, 16, 32, 64), "depths": (1, 1, 2, 1), "num_classes": 10},
    "volo": {
        "depths": (1, 1, 1, 1),
        "embed_dims": (24, 48, 48, 48),
        "num_heads": (2, 4, 4, 4),
        "stem_width": 8,
        "img_size": 64,
        "num_classes": 10,
    },
    "lvvit": {"depth": 2, "embed_dim": 24, "num_heads": 3, "img_size": 48, "num_classes": 10},
}
FAMILIES = pytest.mark.parametrize("family", list(TINY))


def golden(family):
    return load_file(GOLDEN / f"{family}_tiny.safetensors")


def golden_state(family):
    return {key.removeprefix("state."): t for key, t in golden(family).items() if key.startswith("state.")}


def tiny(family, **changes):
    return volovan.create_model(family, **(TINY[family] | changes)).eval()


def write(path, state, **metadata):
    save_file({key: t.contiguous() for key, t in state.items()}, path, metadata or None)
    return path


@pytest.fixture
def file(tmp_path):
    """Writes a state dict, gives its path."""
    return lambda state, name="weights.safetensors", **metadata: write(tmp_path / name, state, **metadata)


# Plain loading


@FAMILIES
def test_loaded_weights_give_the_golden_logits(family, file):
    model = tiny(family)
    report = load_weights(model, file(golden_state(family)))
    tensors = golden(family)
    assert report.loaded == len(golden_state(family))
    assert not report.missing
    assert not report.notes
    with torch.no_grad():
        assert_close(model(tensors["input"]), tensors["output"], atol=1e-5, rtol=1e-4)


@FAMILIES
def test_weights_argument_of_create_model_loads(family, file):
    path = file(golden_state(family))
    model = volovan.create_model(family, weights=path, **TINY[family]).eval()
    with torch.no_grad():
        assert_close(model(golden(family)["input"]), golden(family)["output"], atol=1e-5, rtol=1e-4)


def test_half_precision_files_are_cast_to_the_model(file):
    model = tiny("van")
    load_weights(model, file({k: t.half() if t.is_floating_point() else t for k, t in golden_state("van").items()}))
    assert model.head.weight.dtype == torch.float32
    assert_close(model.head.weight, golden_state("van")["head.weight"].half().float())


def test_wrapped_models_are_unwrapped(file):
    model = tiny("van")
    wrapped = torch.nn.Module()
    wrapped.module = model
    load_weights(wrapped, file(golden_state("van")))
    assert torch.equal(model.head.bias, golden_state("van")["head.bias"])
    with pytest.raises(WeightsError, match="expects a network of volovan, found Linear"):
        load_weights(torch.nn.Linear(2, 2), file(golden_state("van")))


# timm, both ways


def timm_volo():
    from timm.models.volo import VOLO

    tiny = {"embed_dims": (24, 48, 48, 48), "num_heads": (2, 4, 4, 4), "stem_hidden_dim": 8}
    return VOLO(layers=(1, 1, 1, 1), mlp_ratio=3, img_size=64, num_classes=10, **tiny).eval()


def test_volo_weights_go_to_timm_and_back(file):
    ours, theirs = tiny("volo"), timm_volo()
    load_weights(ours, file(golden_state("volo")))
    theirs.load_state_dict(weights.to_timm(ours), strict=True)
    with torch.no_grad():
        x = golden("volo")["input"]
        assert_close(theirs(x), ours(x), atol=1e-5, rtol=0)
        again = tiny("volo")
        load_weights(again, file(theirs.state_dict(), "timm.safetensors"))
        assert torch.equal(again(x), ours(x))


@pytest.mark.slow
@pytest.mark.parametrize("size", [224, 384])
def test_volo_d1_equals_timm(size, tmp_path):
    import timm

    theirs = timm.create_model(f"volo_d1_{size}").eval()
    with torch.no_grad():
        for name, tensor in theirs.state_dict().items():  # far from the initial values, statistics included
            if tensor.is_floating_point():
                tensor.add_(0.02 * torch.randn_like(tensor)).abs_() if "running_var" in name else tensor.add_(
                    0.02 * torch.randn_like(tensor)
                )
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "a.pth.tar")
    ours = volovan.create_model("volo_d1", weights=tmp_path / "a.pth.tar").eval()
    assert ours.config.img_size == (size, size)
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


# Heads, channels, position embedding


@FAMILIES
def test_another_number_of_classes_keeps_the_new_head_and_says_so(family, file, caplog):
    model = tiny(family, num_classes=7)
    before = model.head.weight.clone()
    with caplog.at_level(logging.WARNING, "volovan"):
        report = load_weights(model, file(golden_state(family)))
    assert report.notes == ("the head for 7 classes is new: that of the file has 10",)
    assert "the head for 7 classes is new" in caplog.text
    assert torch.equal(model.head.weight, before)
    assert torch.equal(model.state_dict()[key := stem(model)], golden_state(family)[key])


def stem(model):
    return next(f"{name}.weight" for name, m in model.named_modules() if isinstance(m, torch.nn.Conv2d))


@FAMILIES
def test_no_classes_leave_the_head_of_the_file_out(family, file):
    model = tiny(family, num_classes=0)
    report = load_weights(model, file(golden_state(family)))
    assert report.notes == ("the head of the file was left out: the model has none",)


def test_a_trunk_without_head_gets_a_new_one(file):
    trunk = {key: t for key, t in golden_state("volo").items() if not key.startswith(("head.", "aux_head."))}
    report = load_weights(tiny("volo"), file(trunk))
    assert report.notes == ("the head for 10 classes is new: the file has none",)


@FAMILIES
@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_other_channels_adapt_the_first_convolution(family, channels, file):
    model, reference = tiny(family, in_chans=channels), tiny(family)
    path = file(golden_state(family))
    load_weights(reference, path)
    report = load_weights(model, path)
    assert report.notes == (f"the first convolution was adapted from 3 to {channels} input channels",)
    ours, theirs = model.state_dict()[stem(model)], reference.state_dict()[stem(reference)]
    if channels == 1:
        assert_close(ours, theirs.sum(1, keepdim=True))
    else:
        assert_close(ours, torch.stack([theirs[:, i % 3] for i in range(channels)], 1) * 3 / channels)
    if channels in (1, 6):  # whole copies: a grey picture gives the same logits
        grey = torch.rand(1, 1, 64, 64)
        with torch.no_grad():
            got, want = model(grey.expand(1, channels, 64, 64)), reference(grey.expand(1, 3, 64, 64))
        assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_position_embedding_is_resized_as_by_the_official_helper(file):
    tensors = golden("volo")
    config = TINY["volo"] | {"embed_dims": (8, 8, 8, 8), "num_heads": (1, 1, 1, 1)}
    state = volovan.create_model("volo", **config).state_dict() | {"pos_embed": tensors["pe.in"]}
    path = file(state)
    for side in (3, 6, 7):
        model = volovan.create_model("volo", **(config | {"img_size": 16 * side}))
        report = load_weights(model, path)
        assert_close(model.pos_embed.detach(), tensors[f"pe.out{side}"], atol=1e-5, rtol=1e-4)
        assert report.notes == (f"the position embedding was resized from 4x4 to {side}x{side}",)
    model = volovan.create_model("volo", **config)
    assert load_weights(model, path).notes == ()
    assert torch.equal(model.pos_embed, tensors["pe.in"])


def test_position_embedding_of_a_rectangle_keeps_rows_and_columns_apart(file):
    path = file(golden_state("volo"))
    model = tiny("volo", img_size=(48, 128))
    assert load_weights(model, path).notes == ("the position embedding was resized from 4x4 to 3x8",)
    want = torch.nn.functional.interpolate(
        golden_state("volo")["pos_embed"].permute(0, 3, 1, 2), (3, 8), mode="bicubic"
    )
    assert_close(model.pos_embed.detach(), want.permute(0, 2, 3, 1))


def test_lvvit_class_position_is_never_resized(file):
    state = golden_state("lvvit")
    model = tiny("lvvit", img_size=(64, 32))
    assert load_weights(model, file(state)).notes == ("the position embedding was resized from 3x3 to 4x2",)
    assert torch.equal(model.pos_embed[:, 0], state["pos_embed"][:, 0])
    grid = state["pos_embed"][:, 1:].unflatten(1, (3, 3)).permute(0, 3, 1, 2)
    want = torch.nn.functional.interpolate(grid, (4, 2), mode="bicubic").flatten(2).transpose(1, 2)
    assert_close(model.pos_embed[:, 1:].detach(), want)


def test_lvvit_grids_of_equal_count_are_told_apart(file):
    square = tiny("lvvit", img_size=64)
    model = tiny("lvvit", img_size=(32, 128))  # 2 x 8 tokens, as many as 4 x 4
    report = load_weights(model, file(square.state_dict()))
    assert report.notes == ("the position embedding was resized from 4x4 to 2x8",)


def test_lvvit_rectangles_need_the_size_that_our_files_state(file):
    wide = tiny("lvvit", img_size=(32, 96))
    foreign = file(wide.state_dict())
    with pytest.raises(WeightsError, match="pos_embed of 12 tokens, whose grid is unknown"):
        load_weights(tiny("lvvit"), foreign)
    described = json.dumps({"tree": {"task": {"config": asdict(wide.config)}}})
    state = {f"model.{k}": t for k, t in wide.state_dict().items()}
    own = file(state, "own.safetensors", volovan=described, sha256=digest(state, described))
    report = load_weights(tiny("lvvit"), own)
    assert report.notes == ("the position embedding was resized from 2x6 to 3x3",)


# Misfits


def snapshot(model):
    return {key: t.clone() for key, t in model.state_dict().items()}


def unchanged(model, before):
    return all(torch.equal(t, before[key]) for key, t in model.state_dict().items())


def test_a_misfit_is_reported_and_loads_nothing(file):
    state = golden_state("van")
    state["norm2.weight"] = torch.ones(17)
    del state["head.bias"]
    state["spare.weight"] = torch.ones(1)
    model = tiny("van")
    before = snapshot(model)
    with pytest.raises(WeightsError) as error:
        load_weights(model, file(state))
    text = str(error.value)
    assert "weights.safetensors does not fit van; nothing was loaded" in text
    assert "missing (1): head.bias" in text
    assert "unexpected (1): spare.weight" in text
    assert "wrong shape (1): norm2.weight 17 instead of 16" in text
    assert unchanged(model, before)


def test_a_report_lists_ten_of_each_and_counts_the_rest(file):
    state = {key: t for key, t in golden_state("van").items() if not key.startswith("block3")}
    with pytest.raises(WeightsError) as error:
        load_weights(tiny("van"), file(state))
    found = re.search(r"missing \((\d+)\): (.*?) and (\d+) more", str(error.value))
    assert int(found[1]) == 10 + int(found[3])
    assert len(found[2].split(", ")) == 10


def test_another_variant_is_recognised_by_its_shapes(tmp_path):
    path = write(tmp_path / "volo_d1.safetensors", volovan.create_model("van_b0", num_classes=3).state_dict())
    model = volovan.create_model("van_b1")
    before = snapshot(model)
    with pytest.raises(WeightsError, match=r"volo_d1\.safetensors holds van_b0, not van_b1; nothing was loaded"):
        load_weights(model, path)
    assert unchanged(model, before)


def test_strict_off_takes_what_there_is_but_no_wrong_shape(file):
    state = golden_state("van")
    del state["norm2.weight"]
    state["spare.weight"] = torch.ones(1)
    path = file(state)
    with pytest.raises(WeightsError, match="strict=False loads what there is"):
        load_weights(tiny("van"), path)
    report = load_weights(tiny("van"), path, strict=False)
    assert report.missing == ("norm2.weight",)
    assert report.unexpected == ("spare.weight",)
    assert report.loaded == 177
    with pytest.raises(WeightsError, match="wrong shape"):
        load_weights(tiny("van"), file(state | {"norm3.weight": torch.ones(3)}), strict=False)
    with pytest.raises(WeightsError, match="does not fit"):
        load_weights(tiny("volo"), file(golden_state("van")), strict=False)


def test_missing_batch_counters_are_no_misfit(file):
    state = {key: t for key, t in golden_state("van").items() if "num_batches_tracked" not in key}
    report = load_weights(tiny("van"), file(state))
    assert not report.missing


# Own checkpoints


def own_checkpoint(file, model, **ema):
    said = {"config": asdict(model.config), "preprocessing": asdict(model.preprocessing), "classes": ["a"]}
    state = {f"model.{key}": t for key, t in model.state_dict().items()} | {f"ema.{k}": t for k, t in ema.items()}
    text = json.dumps({"format": "x", "tree": {"task": said}})
    return file(state, "best.safetensors", volovan=text, sha256=digest(state, text))


def test_own_checkpoints_bring_config_and_preprocessing(file):
    from dataclasses import replace

    trained = tiny("volo", drop_path_rate=0.3)
    trained.preprocessing = replace(trained.preprocessing, mean=(0.1, 0.2, 0.3), crop_pct=0.8)
    path = own_checkpoint(file, trained)
    model = volovan.create_model("volo", weights=path, num_classes=10)
    assert model.config == replace(trained.config, drop_path_rate=0.0)
    assert model.preprocessing == trained.preprocessing
    assert torch.equal(model.pos_embed, trained.pos_embed)
    bigger = volovan.create_model("volo", weights=path, num_classes=10, img_size=96)
    assert bigger.preprocessing == replace(trained.preprocessing, input_size=(96, 96))
    with pytest.raises(WeightsError, match="does not fit volo_d1"):
        volovan.create_model("volo_d1", weights=path)


def test_own_checkpoints_are_refused_when_one_byte_differs(tmp_path):
    """Written by the engine: its digest and the one that is checked here must agree."""
    trained, path = tiny("van"), tmp_path / "best.safetensors"
    task = {"config": asdict(trained.config), "preprocessing": asdict(trained.preprocessing)}
    state = {"half": torch.ones(3, dtype=torch.bfloat16), "none": torch.zeros(0), "step": torch.tensor(3)}
    write_checkpoint(path, {"model": trained.state_dict(), "task": task, "optimizer": state})
    assert torch.equal(volovan.create_model("van", weights=path, num_classes=10).head.bias, trained.head.bias)
    content = path.read_bytes()
    for at, byte in ((len(content) - 1000, content[-1000] ^ 1), (content.index(b"crop_pct"), ord("d"))):
        path.write_bytes(content[:at] + bytes([byte]) + content[at + 1 :])
        model = tiny("van")
        before = model.head.bias.clone()
        with pytest.raises(WeightsError, match=r"best\.safetensors is damaged: its content does not fit its digest"):
            load_weights(model, path)
        with pytest.raises(WeightsError, match="is damaged"):
            volovan.create_model("van", weights=path)
        assert torch.equal(model.head.bias, before)


def test_own_checkpoints_of_another_network_name_it(file):
    path = own_checkpoint(file, tiny("van"))
    with pytest.raises(WeightsError) as error:
        volovan.create_model("van_b1", weights=path)
    assert str(error.value) == (
        "best.safetensors does not fit van_b1; nothing was loaded. This file is a run of `van` with other settings; "
        f'use create_model("van", weights="{path}")'
    )
    assert error.value.typed("fit").endswith("; add --model.name van")
    with pytest.raises(WeightsError, match=r'create_model\("van", weights=".*"\) takes its settings from the file'):
        load_weights(tiny("van", embed_dims=(8, 16, 32, 32)), path)


def test_own_checkpoints_prefer_the_average(file):
    trained = tiny("van")
    path = own_checkpoint(file, trained, **{"head.bias": torch.full((10,), 3.0)})
    model = tiny("van")
    report = load_weights(model, path)
    assert report.notes == ("the averaged weights (EMA) of the run were taken",)
    assert torch.equal(model.head.bias, torch.full((10,), 3.0))
    load_weights(model, path, ema=False)
    assert torch.equal(model.head.bias, trained.head.bias)


def test_a_run_folder_gives_its_best_checkpoint(tmp_path):
    trained = tiny("van")
    about = {"task": "classify", "config": asdict(trained.config), "preprocessing": asdict(trained.preprocessing)}
    best = tmp_path / "run" / "checkpoints" / "best.safetensors"
    write_checkpoint(best, {"model": trained.state_dict(), "task": about})
    again = volovan.create_model("van", weights=tmp_path / "run", num_classes=10)
    assert again.config.embed_dims == trained.config.embed_dims
    assert torch.equal(again.head.bias, trained.head.bias)


def test_a_file_is_read_once(file, monkeypatch):
    read = []
    monkeypatch.setattr("volovan.models.weights.find.safe_read", lambda path: read.append(path) or safe_read(path))
    volovan.create_model("lvvit_t", weights=file(volovan.create_model("lvvit_t").state_dict()))
    assert len(read) == 1


def test_a_dense_network_is_no_backbone(tmp_path):
    net = volovan.create_segmenter(
        "van", num_classes=3, trunk_options={"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1)}
    )
    write_checkpoint(tmp_path / "a.safetensors", {"model": net.state_dict(), "task": {"task": "segment"}})
    with pytest.raises(WeightsError, match=r"a dense task, not a backbone; volovan\.load opens it"):
        volovan.create_model("van_b0", weights=tmp_path / "a.safetensors")


# Names, table


def test_foreign_files_build_the_network_for_their_size(file):
    state = volovan.create_model("lvvit_t", img_size=96).state_dict()
    model = volovan.create_model("lvvit_t", weights=file(state))
    assert model.config.img_size == (96, 96)
    assert volovan.create_model("lvvit_t", weights=file(state), img_size=64).config.img_size == 64
    assert config_of(read_weights(file(golden_state("van"), "van.safetensors"), "van"), "van") == {"num_classes": 10}


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("volo_d1", "nothing.pth", "weights nothing.pth: there is no such file"),
        ("volo_d1", "runs/a/best.safetensors", "there is no such file; a name on the hub is written hf:NAME"),
        ("volo_d1", "runs/nothere", "weights runs/nothere: there is no such file; a name on the hub is written hf:"),
        ("volo_d1", "volo_d1_225", "nearest: volo_d1_224"),
        ("volo_d1", "volo_d2_224", r"are for volo_d2, not volo_d1; use create_model\(\"volo_d2\""),
        ("van", None, "no weights of van are published"),
    ],
)
def test_names_that_lead_nowhere_say_where_to_go(name, source, words):
    with pytest.raises(WeightsError, match=words):
        volovan.create_model(name, pretrained=True, weights=source)


@pytest.mark.parametrize("source", ["van_b0", None])
def test_published_weights_come_through_their_row(monkeypatch, tmp_path, source):
    path = tmp_path / "van.pth.tar"
    published = volovan.create_model("van_b0")
    torch.save({"state_dict": published.state_dict()}, path)
    asked = []
    monkeypatch.setattr(download, "fetch", lambda entry: asked.append(entry.name) or path)
    model = volovan.create_model("van_b0", pretrained=True, weights=source, img_size=192)
    assert asked == ["van_b0"]
    assert torch.equal(model.head.weight, published.head.weight)
    assert model.preprocessing.input_size == (192, 192)
    assert model.preprocessing.mean == (0.5, 0.5, 0.5)
    assert model.preprocessing.crop_pct == 0.9


def test_a_folder_named_after_a_model_hides_no_weights(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "van_b0").mkdir()
    (tmp_path / "mine").mkdir()
    path = write(tmp_path / "a.safetensors", volovan.create_model("van_b0").state_dict())
    monkeypatch.setattr(download, "fetch", lambda entry: path)
    volovan.create_model("van_b0", weights="van_b0")
    with pytest.raises(WeightsError, match="mine is a folder; it holds no weight file"):
        volovan.create_model("van_b0", weights="mine")


def test_published_weights_set_size_and_crop(monkeypatch, tmp_path):
    path = write(tmp_path / "a.safetensors", volovan.create_model("lvvit_t").state_dict())
    monkeypatch.setattr(download, "fetch", lambda entry: path)
    model = volovan.create_model("lvvit_t", pretrained=True, in_chans=1)
    assert model.config.img_size == 224
    assert model.preprocessing.mean == (0.5,)  # three means of the row cannot serve one channel
    assert config_of(read_weights("volo_d5_512", "volo_d5"), "volo_d5") == {"num_classes": 1000, "img_size": 512}
    assert weights.get_entry("volo_d4_224").preprocessing.crop_pct == 1.15


def test_table_lists_every_published_checkpoint():
    names = weights.list_weights()
    assert len(weights.list_weights("volo_d*")) == 11
    assert len(weights.list_weights("van_*")) == 8
    assert len(weights.list_weights("lvvit_*")) == 8
    published = [
        *(f"van_b{i}" for i in range(7)),
        *(f"volo_d{i}" for i in range(1, 6)),
        *(f"lvvit_{i}" for i in "tsml"),
    ]
    for name in published:
        assert weights.default_entry(name) is not None, name
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", weights.list_weights())
def test_table_rows_are_whole(name):
    entry = weights.get_entry(name)
    assert entry.model in volovan.list_models()
    assert entry.preprocessing.input_size == (entry.size, entry.size)
    assert "Apache-2.0" in entry.licence
    assert (entry.published is None) == (entry.num_classes != 1000)
    for source in entry.sources:
        assert bool(source.url) != bool(source.repo and source.file)
        assert source.address.startswith("https://")
        assert source.file_name
        if source.sha256:  # never invented: it stands in the name of the file
            assert source.file_name.endswith(f"-{source.sha256}.pth")


@pytest.mark.parametrize(
    ("model", "name"),
    [("volo_d5", "volo_d5_224"), ("van_b4", "van_b4"), ("van_b6", "van_b6_in22k"), ("lvvit_l", "lvvit_l_448")],
)
def test_table_default_is_imagenet_1k_at_the_smallest_size(model, name):
    assert weights.default_entry(model).name == name
    assert weights.get_entry(model).name == name


def test_report_reads_as_one_line(file):
    text = str(load_weights(tiny("van", num_classes=3), file(golden_state("van"))))
    assert text == (
        "176 tensors from weights.safetensors (original VAN); the head for 3 classes is new: that of the file has 10"
    )


def test_documentation_lists_the_rows_of_the_table():
    text = (Path(__file__).parents[2] / "docs" / "weights.md").read_text()
    for name in weights.list_weights():
        entry = weights.get_entry(name)
        top1 = f"{entry.published.top1:g}" if entry.published else "none"
        row = (name, entry.model, entry.size, entry.trained_on, top1, f"{entry.preprocessing.crop_pct:g}")
        line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        assert line.startswith(f"| {' | '.join(map(str, row))} |")
        assert all(source.address in line for source in entry.sources)
