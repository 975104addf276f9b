"""ONNX files in onnxruntime: any batch, height and width, the answers of the network, and files that lie."""

import json
import random
import re

import numpy as np
import pytest
import torch

import volovan
from exported import COMPARED, NETWORKS, odd_pictures, ready
from volovan.exports.about import KEY
from volovan.exports.exporting import about_of, choose_format, export
from volovan.exports.to_onnx import open_file
from volovan.predictor import FileError, Predictor

QUICK = (("classify", None), ("detect", "retinanet"))
"""the others take a quarter of a minute each"""
CASES = [
    *(
        pytest.param(task, head, "van", marks=[] if (task, head) in QUICK else [pytest.mark.slow])
        for task, head in NETWORKS
    ),
    pytest.param("classify", None, "volo"),
    pytest.param("classify", None, "lvvit", marks=pytest.mark.slow),
    pytest.param("segment", "fpn", "volo", marks=pytest.mark.slow),
    pytest.param("segment", "fpn", "lvvit", marks=pytest.mark.slow),
    pytest.param("panoptic", "mask2former", "volo", marks=pytest.mark.slow),
]
EVERY = pytest.mark.parametrize(("task", "head", "family"), CASES)


def sizes(count):
    """(pictures, height, width) from (1, 32, 32) on."""
    draw = random.Random(0)
    found = [(1, 32, 32), (2, 32, 33), (1, 97, 131)]
    while len(found) < count:
        found.append((draw.randint(1, 4), draw.randint(32, 200), draw.randint(32, 200)))
    return found


@pytest.mark.parametrize("count", [6, pytest.param(30, marks=pytest.mark.slow)])
@EVERY
def test_any_batch_height_and_width(written, task, head, family, count):
    found, made = written(task, head, family)
    _, run = open_file(made.path, threads=1)
    for number, (batch, height, width) in enumerate(sizes(count)):
        images = torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(number))
        with torch.no_grad():
            expected = found.cut.inside(found.model, images)
        for own, right in zip(run(images), expected, strict=True):
            assert own.shape == right.shape
            assert own.dtype == right.dtype
            largest = right.double().abs().max().clamp(min=1e-6)
            if found.cut.ordered:
                assert ((own.double() - right.double()).abs().max() / largest) < 1e-4, (batch, height, width)


@EVERY
def test_answers_without_torch_are_those_of_the_network(written, task, head, family):
    found, made = written(task, head, family)
    network = Predictor(made.path, threads=1)
    pictures = odd_pictures()
    for picture, right in zip(pictures, found.predict(pictures), strict=True):
        own = network(picture)
        COMPARED[task](own, right)
        assert network.draw(picture, own).size == picture.size


def test_a_file_is_a_network_like_any_other(written):
    found, made = written("classify")
    opened = volovan.load(made.path)
    assert repr(opened).endswith("classify, 3 classes, on cpu>")
    pictures = odd_pictures(5)
    for own, right in zip(opened.predict(pictures), found.predict(pictures), strict=True):
        assert own.numbers == right.numbers
    assert made.about.size is None
    assert made.check.error < 1e-5
    assert made.check.agree == 1
    assert re.search(
        r"MiB, fp32, any batch and any height and width\nchecked at 64x64 and 97x131, 1 and 3", made.said()
    )


def bad_files(good):
    """name -> content, and what is said of it."""
    other = good.replace(b'"volovan-export-1"', b'"volovan-export-9"')
    location = b"\x0a\x08location\x12\x10../../etc/passwd"
    return {
        "cut off": (good[: len(good) // 2], "is cut off, damaged or no ONNX file"),
        "cut at the end": (good[:-3], "is cut off, damaged or no ONNX file"),
        "empty": (b"", "does not say what network it holds|cut off"),
        "rubbish": (bytes(range(256)) * 40, "is cut off, damaged or no ONNX file"),
        "of another format": (other, "what this version of volovan cannot read"),
        "without metadata": (good.replace(b"\x0a\x07volovan\x12", b"\x0a\x07nothing\x12"), "does not say what network"),
        "another task": (good.replace(b'\\"task\\": \\"classify\\"', b"") if b'\\"task' in good
                         else good.replace(b'"task": "classify"', b'"task": "juggling"'), "juggling"),
        "weights elsewhere": (good + location, r"has its weights in another file, '\.\./\.\./etc/passwd'"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    ["cut off", "cut at the end", "empty", "rubbish", "of another format", "without metadata", "another task",
     "weights elsewhere"],
)  # fmt: skip
def test_files_that_lie_are_met_with_one_sentence(written, tmp_path, kind):
    content, said = bad_files(written("classify")[1].path.read_bytes())[kind]
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as caught:
        volovan.load(path)
    assert "\n" not in str(caught.value)
    if kind not in ("of another format",):  # which the file alone need not mind
        with pytest.raises(FileError) as caught:
            Predictor(path)
        assert "\n" not in str(caught.value)


def changed(about, key, value):
    """What a file says, with another value at a place such as "said.preprocessing.std"."""
    found = json.loads(json.dumps(about))
    *above, last = key.split(".")
    place = found
    for name in above:
        place = place[name]
    place[last] = value
    return json.dumps(found)


LIES = [
    *(("batch", value) for value in ("x", 2.5, [1], -1, 0, 10**9, True)),
    *(("size", value) for value in ([float("inf"), 32], [0, 0], [-32, -32], [10**9, 10**9], [10**400, 32], "32", [32])),
    *(("outputs", value) for value in ([1], [], "logits", ["other"], ["logits", "more"])),
    *(("said.classes", value) for value in ([], [1, 2, 3], None, "abc", {"a": 1})),
    ("format", "volovan-export-2"),
    ("said.eval_mode", "foo"),
    ("said.preprocessing", []),
    *(("said.preprocessing.interpolation", value) for value in ("foo", 3)),
    *(("said.preprocessing.crop_pct", value) for value in (0, 1e-9, float("nan"), "1")),
    *(("said.preprocessing.input_size", value) for value in ("32", [10**7, 10**7], [16384, 16384], [0, 32])),
    *(("said.preprocessing.mean", value) for value in ("a", [0.5, 0.5], [float("nan")] * 3)),
    *(("said.preprocessing.std", value) for value in (0, [0.0, 1.0, 1.0], None)),
]


def test_metadata_that_nobody_wrote_are_met_with_one_sentence(written, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(written("classify")[1].path)
    entry = next(entry for entry in model.metadata_props if entry.key == KEY)
    about, path = json.loads(entry.value), tmp_path / "lies.onnx"
    texts = [changed(about, *lie) for lie in LIES] + ["[" * 200_000, "[]", "3", "{}", "null"]
    for text in texts:
        entry.value = text
        onnx.save(model, path)
        for opened in (volovan.load, Predictor):
            with pytest.raises(ValueError, match=r"lies\.onnx (says|gives) .*; export the network again") as caught:
                opened(path)
            assert "\n" not in str(caught.value), text[:200]


@pytest.mark.parametrize("key", ["window", "stride", "multiple", "scales", "size"])
def test_measures_that_nobody_wrote_are_met_with_one_sentence(written, tmp_path, key):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(written("classify")[1].path)
    entry = next(entry for entry in model.metadata_props if entry.key == KEY)
    about, path = json.loads(entry.value), tmp_path / "lies.onnx"
    for value in (0, -1, "x", [], [0], [[1]], {}, True, float("nan")):
        entry.value = changed(about, "said.test", {key: value})
        onnx.save(model, path)
        with pytest.raises(FileError, match="what this version of volovan cannot read"):
            Predictor(path)
    entry.value = changed(about, "said.test", "x")
    onnx.save(model, path)
    with pytest.raises(FileError, match="what this version of volovan cannot read"):
        Predictor(path)


def test_classes_that_do_not_fit_the_network_are_said(written, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(written("classify")[1].path)
    entry = next(entry for entry in model.metadata_props if entry.key == KEY)
    path, picture = tmp_path / "two.onnx", odd_pictures(8)[7]
    entry.value = changed(json.loads(entry.value), "said.classes", ["a", "b"])
    onnx.save(model, path)
    with pytest.raises(FileError, match=r"names 2 classes, but gives logits of \(1, 3\); export the network again"):
        Predictor(path)(picture)
    with pytest.raises(ValueError, match="names 2 classes, but gives logits"):
        volovan.load(path).predict(picture)


def test_answers_that_are_no_numbers_are_said(written, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(written("classify")[1].path)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))
    path, picture = tmp_path / "nan.onnx", odd_pictures(8)[7]
    onnx.save(model, path)
    for network in (Predictor(path), volovan.load(path).predict):
        with pytest.raises(ValueError, match="gives logits that are not finite; look at the weights"):
            network(picture)


def test_another_models_file_is_met_with_one_sentence(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])  # fmt: skip
    path = tmp_path / "other.onnx"
    onnx.save(helper.make_model(graph), path)
    with pytest.raises(ValueError, match="does not say what network it holds, as files of `volovan export` do"):
        volovan.load(path)
    with pytest.raises(FileError, match="does not say what network it holds"):
        Predictor(path)


@pytest.mark.parametrize(
    ("task", "head"),
    [("classify", None), *(pytest.param(*each, marks=pytest.mark.slow) for each in (
        ("segment", "fpn"), ("saliency", "edn"), ("detect", "gfl"), ("detect", "sparse_rcnn"), ("detect", "mask_rcnn")
    ))],
)  # fmt: skip
def test_a_file_of_answers_takes_bytes(tmp_path, task, head):
    import onnxruntime

    found = ready(task, head)
    about = about_of(found, raw=True, answers=True)
    path = tmp_path / "answers.onnx"
    made = export(found, choose_format("onnx", "fp32"), path, about, odd_pictures(8)[7:])
    assert made.check.agree > 0.95
    session = onnxruntime.InferenceSession(path)
    assert [one.name for one in session.get_outputs()] == list(found.answering().outputs)
    picture = np.asarray(odd_pictures(8)[7].resize((64, 64)))
    answers = session.run(None, {"images": np.stack([picture, picture[::-1]])})
    assert all(len(one) == 2 for one in answers)
    if task == "classify":
        np.testing.assert_allclose(answers[0].sum(axis=1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="gives answers, for other programs; export the network without --answers"):
        volovan.load(path)
    with pytest.raises(FileError, match="gives answers itself; run it with onnxruntime"):
        Predictor(path)
