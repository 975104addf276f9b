"""What a user gets wrong is answered in one sentence, with the nearest right word where there is one."""

import pytest

from volovan.cli import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fti"], "did you mean fit?"),
        (["fit", "digits_vam"], "did you mean digits_van?"),
        (["fit", "digits_van", "--optim.lrr", "1"], "did you mean optim.lr?"),
        (["fit", "digits_van", "--optim.lr", "fast"], "optim.lr is fast; expected a number"),
        (["fit", "digits_van", "--loss.smoothing", "2"], "loss.smoothing is 2.0"),
        (["fit", "digits_van", "--model.options.dimz", "[8]"], "dimz"),
        (["fit", "digits_van", "--data.source", "/nowhere/at/all"], "/nowhere/at/all"),
        (["fit", "digits_van", "--train.batch_size", "7", "--train.accumulate", "2"], "make it a multiple of 2"),
        (["fit", "digits_van", "--train.device", "cuda:99"], "train.device 'cuda:99'"),
        (["fit", "finetune_masks", "--data.size", "96"], "set augment.crop, the window that is trained on"),
        (["fit", "finetune_saliency", "--data.size", "96"], "set data.mixed_sizes to [] to train at data.size alone"),
        (["fit", "shapes_edn", "--augment.crop", "96"], "there is no key 'augment.crop' here; set data.size"),
        (["fit", "digits_van", "--augment.scale", "[1,2]"], "set augment.crop_scale"),
        (["fit", "digits_van", "--train.workers", "500"], "train.workers is 500; this machine has"),
        (["fit", "digits_van", "--model.name", "van_b9"], "model: no model 'van_b9'; did you mean"),
        (["fit", "shapes_van", "--model.head_options.chanels", "3"], "model: the head 'fpn' has no option 'chanels'"),
        (["fit", "no_such.yaml"], "there is no recipe file no_such.yaml"),
        (["fit", "--resume", "nowhere"], "no run folder"),
        (["fit", "digits_van", "--augment.randaugment", "foo"], "augment.randaugment is 'foo'"),
        (["fit", "digits_van", "--augment.crop_ratio", "[0,0]"], "augment.crop_ratio is [0.0, 0.0]"),
        (["fit", "digits_van", "--augment.mixup", "-1"], "augment.mixup is -1"),
        (["fit", "digits_van", "--data.std", "[0,0,0]"], "data.std is [0"),
        (["fit", "digits_van", "--data.crop_pct", "-1"], "data.crop_pct is -1"),
        (["fit", "digits_van", "--model.options.num_classes", "7"], "follows from the classes of the data"),
        (["predict", "van_b0", "digits", "--top", "0"], "--top is 0"),
        (["predict", "van_b0", "digits", "--batch-size", "0"], "--batch-size is 0"),
        (["predict", "van_b0", "digits", "--out", ""], "--out is empty"),
        (["validate", "van_b0", "--batch-size", "0"], "--batch-size is 0"),
        (["fit", "digits_van", "--model.weights", ""], "--model.weights is empty; name a file"),
        (["predict", "van_b9", "a.png"], "'van_b9' is no run folder"),
        (["validate", "digits_van"], "starts from random weights"),
        (["models", "van_b9"], "van_b"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_mistakes_get_one_sentence(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message


def test_an_unknown_key_in_a_recipe_file_names_the_nearest(tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    for text, said in (
        ("optim: {lrr: 3}", "did you mean optim.lr?"),
        ("modle: {name: van_b0}", "did you mean model.name?"),
        ("task: painting", "task is 'painting'"),
        ("- a\n- b", "holds no settings"),
        ("a: [", "no valid YAML"),
        ("optim: null", "optim is None; a section of keys is expected"),
        ("task: [classify]", "task is ['classify']"),
        ("optim: {lr: 1}\noptim: {lr: 2}", "the key 'optim' is given twice"),
    ):
        recipe.write_text(text)
        assert main(["fit", str(recipe)]) == 2
        assert said in capsys.readouterr().err


def test_an_unset_variable_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOLOVAN_DATA", raising=False)
    assert main(["fit", "cifar10_van"]) == 2
    assert "environment variable VOLOVAN_DATA is not set" in capsys.readouterr().err
