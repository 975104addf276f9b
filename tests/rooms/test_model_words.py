"""What MODEL means: one table of words, read in one place (use/load.py), the same in every verb that takes a model."""

import shutil

import pytest
from safetensors.torch import save_file

import volovan
from volovan.cli import main
from volovan.use.load import find_model

STEP = ("--train.max_steps", "1")


@pytest.fixture(scope="module")
def place(tmp_path_factory, recipes):
    """A folder with runs of three rooms, their checkpoints, weights of others, recipes, and what is none of these."""
    folder = tmp_path_factory.mktemp("words")
    for room in ("classify", "segment", "saliency"):
        (folder / f"{room}.yaml").write_text(recipes[room])
        words = ["fit", str(folder / f"{room}.yaml"), "--out", str(folder / f"{room}_run"), *STEP]
        assert main(words) == 0
        best = folder / f"{room}_run" / "checkpoints" / "best.safetensors"
        shutil.copy(best, folder / f"{room}.safetensors")
        shutil.copy(best, folder / f"{room}_odd_name.pt")
    save_file(volovan.create_model("van_b0", num_classes=3).state_dict(), folder / "van_b0_weights.safetensors")
    (folder / "classify_bare").mkdir()  # a run that has lost its recipe
    shutil.copytree(folder / "classify_run" / "checkpoints", folder / "classify_bare" / "checkpoints")
    (folder / "unborn" / "checkpoints").mkdir(parents=True)  # a run without a checkpoint
    (folder / "unborn" / "recipe.yaml").write_text(recipes["classify"])
    (folder / "van_b1").mkdir()  # a folder that is called like a variant
    (folder / "plain_folder").mkdir()
    (folder / "text.txt").write_text("hello")
    (folder / "broken.safetensors").write_bytes(b"rubbish")
    (folder / "empty.yaml").write_text("")
    (folder / "other_task.yaml").write_text("task: juggling\n")
    (folder / "started.yaml").write_text(
        recipes["classify"].replace("model: {name: van,", f"model: {{name: van, weights: {folder}/classify_run,")
    )
    return folder


# word, weights -> room, what it leads to
TAKEN = [
    ("{}/classify_run", None, "classify", "checkpoint"),
    ("{}/segment_run", None, "segment", "checkpoint"),
    ("{}/saliency_run", None, "saliency", "checkpoint"),
    ("{}/classify_run/", None, "classify", "checkpoint"),
    ("{}/classify_bare", None, "classify", "checkpoint"),
    ("{}/classify_run/checkpoints/best.safetensors", None, "classify", "checkpoint"),
    ("{}/segment_run/checkpoints/best.safetensors", None, "segment", "checkpoint"),
    ("{}/saliency_run/checkpoints/best.safetensors", None, "saliency", "checkpoint"),
    ("{}/classify_run/checkpoints/step-00000001.safetensors", None, "classify", "checkpoint"),
    ("{}/segment_run/checkpoints/step-00000001.safetensors", None, "segment", "checkpoint"),
    ("{}/classify.safetensors", None, "classify", "checkpoint"),
    ("{}/segment_odd_name.pt", None, "segment", "checkpoint"),
    ("{}/started.yaml", None, "classify", "checkpoint"),
    ("{}/classify.yaml", "{}/classify_run", "classify", "checkpoint"),
    ("{}/classify.yaml", "{}/classify.safetensors", "classify", "checkpoint"),
    ("{}/segment.yaml", "{}/segment_run", "segment", "checkpoint"),
    ("{}/segment.yaml", "{}/segment.safetensors", "segment", "checkpoint"),
    ("{}/saliency.yaml", "{}/saliency_run", "saliency", "checkpoint"),
    ("van_b0", "{}/van_b0_weights.safetensors", "classify", "weights"),
    ("van_b0", "random_words_of_a_table", "classify", "weights"),
    ("van_b0", None, "classify", "published"),
    ("volo_d5", None, "classify", "published"),
    ("lvvit_s", None, "classify", "published"),
    ("van_b1", None, "classify", "published"),
    ("volo_d1_384", None, "classify", "weights"),
    ("classify/volo_d1_384", None, "classify", "weights"),
    ("camvid_van", "{}/segment_run", "segment", "checkpoint"),
    ("segment/camvid_van", "{}/segment_run", "segment", "checkpoint"),
    ("duts_edn_van_b1", "{}/saliency_run", "saliency", "checkpoint"),
]

# word, weights -> part of the one sentence
REFUSED = [
    ("{}/classify_run", "{}/classify_run", "has weights of its own; leave out --weights"),
    ("{}/classify.safetensors", "{}/classify_run", "has weights of its own; leave out --weights"),
    ("{}/unborn", None, "has no checkpoint yet"),
    ("{}/plain_folder", None, "is a folder, but no run"),
    ("{}/van_b1", None, "is a folder, but no run"),
    ("{}/text.txt", None, "is neither a checkpoint nor a recipe"),
    ("{}/broken.safetensors", None, "does not say what network it is of"),
    ("{}/van_b0_weights.safetensors", None, "MODEL --weights {}/van_b0_weights.safetensors"),
    ("{}/empty.yaml", None, "holds no settings"),
    ("{}/other_task.yaml", None, "task is 'juggling'; known:"),
    ("{}/nothing.yaml", None, "there is no recipe file"),
    ("{}/nothing", None, "there is no such run folder or file"),
    ("nothing", None, "is no run folder, no checkpoint, no recipe and no model"),
    ("van_b9", None, "did you mean van_b"),
    ("voloo_d1", None, "did you mean volo_d1"),
    ("", None, "the model is empty; name a run folder"),
    ("{}/classify.yaml", None, "starts from random weights; name a run, or --weights FILE"),
    ("{}/segment.yaml", None, "starts from random weights; name a run, or --weights FILE"),
    ("camvid_van", None, "starts from random weights; name a run, or --weights FILE"),
    ("van_b5", "{}/segment_run", "is of the trunk van, not of van_b5"),
    ("van_b5", "{}/saliency.safetensors", "is of the trunk van, not of van_b5"),
]


def filled(text, place):
    return None if text is None else text.replace("{}", str(place))


@pytest.mark.parametrize(("word", "weights", "room", "leads"), TAKEN)
def test_a_word_is_found(place, word, weights, room, leads):
    found = find_model(filled(word, place), filled(weights, place))
    assert found.room == room
    assert (found.checkpoint is not None) == (leads == "checkpoint")
    assert (found.weights is not None) == (leads == "weights")


@pytest.mark.parametrize(("word", "weights", "sentence"), REFUSED)
@pytest.mark.parametrize("verb", ["validate", "predict", "probe", "label"])
def test_a_word_is_refused_alike_in_every_verb(place, capsys, tmp_path, monkeypatch, verb, word, weights, sentence):
    monkeypatch.chdir(tmp_path)
    words = [verb, filled(word, place), *(["digits"] if verb != "validate" else [])]
    words += ["--out", "there"] if verb == "label" else []
    words += ["--weights", filled(weights, place)] if weights else []
    assert main(words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note:")]
    assert len(lines) == 1
    assert lines[0].startswith(f"volovan {verb}: ")
    assert filled(sentence, place) in lines[0]
    assert len(lines[0]) < 500 + 4 * len(str(place))
    assert not list(tmp_path.iterdir())


RUN = [entry for entry in TAKEN if entry[3] == "checkpoint" or "_run" in (entry[1] or "") or "started" in entry[0]]
RUN = [entry for entry in RUN if entry[0] not in ("camvid_van", "segment/camvid_van", "duts_edn_van_b1")]


@pytest.mark.parametrize(("word", "weights", "room", "leads"), RUN)
def test_a_word_predicts_and_validates(place, capsys, tmp_path, word, weights, room, leads):
    more = ["--weights", filled(weights, place)] if weights else []
    data = {"classify": "generated:3x2@40x40", "segment": "shapes:30@64x64", "saliency": "shapes:30@64x64"}[room]
    words = [filled(word, place), data, "--split", "val", "--workers", "0", "--out", str(tmp_path / "p"), *more]
    assert main(["predict", *words]) == 0
    assert (tmp_path / "p" / "predictions.csv").is_file()
    assert main(["validate", filled(word, place), "--data", data, "--workers", "0", *more]) == 0
    assert volovan.load(filled(word, place), filled(weights, place), device="cpu").room == room


def test_nothing_else_reads_what_a_model_is():
    """The meaning of MODEL has one home: nobody else looks at suffixes, run folders and variants to find it out."""
    from pathlib import Path

    source = Path(volovan.__file__).parent
    asking = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if any(word in path.read_text() for word in ("is_run(", "find_model(", "best_checkpoint("))
    }
    homes = {"use/load.py", "files/runs.py", "models/weights/find.py", "models/weights/dense.py"}
    assert asking - homes == {"verbs/options.py", "verbs/label.py", "verbs/probe.py", "use/export.py"}
