"""Other formats and precisions: written, opened, compared; what is missing or damaged is said in one sentence."""

import copy
import logging
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import volovan
from exported import COMPARED, NETWORKS, odd_pictures, ready
from volovan.exports import formats
from volovan.exports.about import ExportError
from volovan.exports.exporting import Judge, about_of, choose_format, export, opened
from volovan.exports.graph import part_of
from volovan.exports.opened import at_size, fitting
from volovan.exports.sensitive import costly, errors_of
from volovan.exports.verify import prepared
from volovan.predictor import Predictor
from volovan.room.cut import FileNetwork

SLOW = pytest.mark.slow


def write(folder, to, precision="fp32", task="classify", head=None, family="van", **how):
    found, form = ready(task, head, family), choose_format(to, precision)
    made = export(
        found,
        form,
        folder / f"network{form.suffix}",
        about_of(found, precision=precision),
        odd_pictures(8)[5:],
        odd_pictures(6),
        **how,
    )
    return found, made


@pytest.mark.parametrize(
    ("task", "head"),
    [pytest.param(*each, marks=[SLOW] if each != ("classify", None) else []) for each in NETWORKS],
)
@pytest.mark.parametrize("to", ["torch-export", "openvino"])
def test_every_network(tmp_path, to, task, head):
    pytest.importorskip("openvino")
    found, made = write(tmp_path, to, task=task, head=head)
    assert (made.check.error < 1e-4) if found.cut.ordered else made.check.error is None
    again = volovan.load(made.path)
    for own, right in zip(again.predict(odd_pictures(6)), found.predict(odd_pictures(6)), strict=True):
        assert own.agrees(right) > 0.98


@pytest.mark.parametrize(
    ("task", "head"),
    [("classify", None), ("detect", "retinanet"), pytest.param("detect", "mask_rcnn", marks=SLOW)],
)
def test_one_size_and_batch_that_the_network_was_not_trained_at(tmp_path, task, head):
    """Pictures beyond the batch are filled up, and outputs that pictures share stay whole."""
    found, form = ready(task, head), choose_format("onnx", "fp32")
    about = about_of(found, size=(64, 96), batch=2)
    made = export(found, form, tmp_path / "network.onnx", about, odd_pictures(3))
    assert "fp32, batch 2 and 64 x 96 pixels" in made.said()
    assert made.check.tried == ((2, 64, 96),)
    images = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    again = opened(type(found), made.path)
    with torch.no_grad():
        expected = found.cut.inside(found.model, images)
    for name, own, right in zip(found.cut.outputs, again.model.run(images), expected, strict=True):
        if found.cut.ordered or name == "scores":
            torch.testing.assert_close(own, right, atol=1e-4, rtol=1e-4)
    # values that Predictor.run takes, of which its normalised makes these images
    scale = (np.asarray(found.preprocessing.std), np.asarray(found.preprocessing.mean))
    pixels = 255 * (images.permute(0, 2, 3, 1).numpy() * scale[0] + scale[1])
    for own, right in zip(Predictor(made.path, threads=1).run(pixels), again.model.run(images), strict=True):
        assert own.shape == tuple(right.shape)


FIXED = [
    ("classify", None, {}),
    ("saliency", "edn", {}),
    ("pose", "simple", {}),
    ("segment", "ham", {}),
    ("segment", "fpn", {"mode": "slide", "window": (48, 48), "stride": (32, 32)}),
    ("detect", "retinanet", {}),
    ("detect", "mask_rcnn", {}),
    ("detect", "sparse_rcnn", {}),
    ("panoptic", "mask2former", {}),
]


@pytest.mark.parametrize(
    ("task", "head", "test"),
    [pytest.param(*each, marks=[] if each[1] in (None, "retinanet") else [SLOW]) for each in FIXED],
)
def test_a_file_of_one_size_takes_every_picture(tmp_path, task, head, test):
    """Upright and lying ones, in volovan as in the program that is copied, as the network does it with padded ones."""
    found, form = ready(task, head, **test), choose_format("onnx", "fp32")
    size = (64, 100)
    made = export(found, form, tmp_path / "network.onnx", about_of(found, size=size), odd_pictures(5)[3:])
    assert made.check.agree > 0.98
    again, network = volovan.load(made.path), Predictor(made.path, threads=1)
    by_torch = at_size(copy.copy(found), size)
    run = fitting(lambda images: found.cut.inside(found.model, images), made.about, found.cut)
    by_torch.model = FileNetwork(found.model, found.cut, run)
    pictures = [picture.convert("RGB") for picture in odd_pictures(10)]
    for picture, own, right in zip(pictures, again.predict(pictures), by_torch.predict(pictures), strict=True):
        assert own.agrees(right) > 0.98
        COMPARED[task](network(picture), own)
    fitting_in = Image.fromarray(np.asarray(pictures[7].resize((100, 64))))  # of which nothing is padded
    assert again.predict(fitting_in).agrees(at_size(found, size).predict(fitting_in)) > 0.98
    if test:  # windows fit into it at any size
        return
    too_large = again.using(size=(128, 200))
    with pytest.raises(
        ExportError, match=r"takes pictures of 64 x 100 only, these are .*; leave --size out, or export"
    ):
        too_large.predict(pictures[7])


@SLOW
def test_machine_code(tmp_path):
    """By a compiler, which takes minutes."""
    found, made = write(tmp_path, "aotinductor")
    assert formats.format_of(made.path).name == "aotinductor"
    again = volovan.load(made.path)
    assert again.predict(odd_pictures(1))[0].agrees(found.predict(odd_pictures(1))[0]) == 1


@pytest.mark.parametrize(
    ("to", "precision"),
    [
        ("onnx", "int8"),
        pytest.param("onnx", "int8-weights", marks=SLOW),
        pytest.param("onnx", "fp16", marks=SLOW),
        ("torch-export", "bf16"),
        pytest.param("torch-export", "fp16", marks=SLOW),
        pytest.param("openvino", "fp16", marks=SLOW),
        pytest.param("openvino", "int8", marks=SLOW),
        pytest.param("openvino", "int8-weights", marks=SLOW),
    ],
)
def test_fewer_bits(tmp_path, to, precision):
    pytest.importorskip("openvino")
    found, made = write(tmp_path, to, precision)
    assert 1e-6 < made.check.error < 0.1, "exact answers were not made of fewer bits"
    again = opened(type(found), made.path)
    assert made.about.precision == precision
    agree = [
        own.agrees(right)
        for own, right in zip(again.predict(odd_pictures()), found.predict(odd_pictures()), strict=True)
    ]
    assert math.fsum(agree) >= 18
    if to == "onnx" and precision != "fp32":
        whole = choose_format("onnx", "fp32")
        export(found, whole, tmp_path / "whole.onnx", about_of(found), odd_pictures(1))
        assert made.bytes < 0.9 * (tmp_path / "whole.onnx").stat().st_size


def test_the_layers_that_cost_most_stay_in_float():
    found = ready("classify", None)
    part = part_of(found)
    pictures = [prepared(found, [picture], (64, 64)) for picture in odd_pictures(4)[:4] if picture.mode == "RGB"]
    before = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    part.model.head.weight.data[0] *= 300  # one class drowns the others
    errors = errors_of(part, pictures)
    assert len(errors) == sum(1 for _ in part.named_modules() if hasattr(_[1], "weight") and _[1].weight.dim() > 1)
    assert all(0 < error < 10 for error in errors.values())
    spared = costly(part, pictures)
    assert spared
    assert max(errors, key=errors.get) in spared
    assert len(spared) <= len(errors) / 12
    part.model.head.weight.data[0] /= 300
    for name, tensor in part.state_dict().items():
        assert tensor.allclose(before[name])


def test_a_file_that_loses_too_much_is_not_kept(tmp_path):
    told = iter([{"top1": 90.0}, {"top1": 85.0}] * 2)
    judge = Judge(lambda network: next(told), "top1", lost=6)
    _, made = write(tmp_path, "onnx", "int8-weights", judge=judge)
    assert made.figures == {"top1": (90.0, 85.0)}
    assert "validated, before and after: top1 90.000 -> 85.000" in made.said()
    made.path.unlink()
    with pytest.raises(ExportError, match=r"top1 goes from 90\.000 to 85\.000, more than --most-lost 1 allows"):
        write(tmp_path, "onnx", "int8-weights", judge=Judge(judge.figures, "top1", lost=1))
    assert list(tmp_path.iterdir()) == []


def test_answers_of_fewer_bits_are_validated_as_the_network_without_them(tmp_path):
    seen = []

    def judged(network):
        seen.append(type(network.model).__name__)
        return {"miou": float(len(seen))}

    found = ready("segment", "ham")
    about = about_of(found, answers=True, size=(64, 64), precision="int8-weights")
    path = tmp_path / "answers.onnx"
    made = export(found, choose_format("onnx", "int8-weights"), path, about, odd_pictures(8)[7:],
                  judge=Judge(judged, "miou"))  # fmt: skip
    assert made.figures == {"miou": (1.0, 2.0)}
    assert seen[1] == "FileNetwork"
    assert "validated, before and after" in made.said()
    assert [path.name for path in tmp_path.iterdir()] == ["answers.onnx"]


@pytest.mark.parametrize("to", ["onnx", pytest.param("openvino", marks=SLOW)])
@pytest.mark.parametrize("answers", [pytest.param(False, marks=SLOW), True], ids=["plain", "answers"])
def test_int8_of_several_pictures_at_once(tmp_path, to, answers):
    pytest.importorskip("openvino")
    found = ready("segment", "ham")
    about = about_of(found, batch=2, answers=answers, precision="int8")
    how = choose_format(to, "int8")
    path = tmp_path / f"two{how.suffix}"
    made = export(found, how, path, about, odd_pictures(8)[7:], odd_pictures(8)[5:])
    assert made.about.batch == 2
    assert all(count == 2 for count, _, _ in made.check.tried)


def test_weights_of_somebody_else_stay(tmp_path):
    pytest.importorskip("openvino")
    (tmp_path / "network.bin").write_bytes(b"precious")
    with pytest.raises(ExportError, match=r"network\.bin is there, and would be written too; name another file"):
        write(tmp_path, "openvino")
    assert (tmp_path / "network.bin").read_bytes() == b"precious"


def test_a_damaged_part_of_a_torch_file_is_said(tmp_path):
    _, made = write(tmp_path, "torch-export")
    content = bytearray(made.path.read_bytes())
    content[content.index(b"volovan-export-1")] ^= 1
    made.path.write_bytes(content)
    with pytest.raises(ExportError, match=r"is cut off, damaged or no file of torch\.export \(.*\); export it again"):
        volovan.load(made.path)


def test_a_file_that_deviates_is_not_kept(tmp_path, monkeypatch):
    from volovan.exports import to_torch

    def worse(part, path, about, pictures=()):
        part.model.head.bias.data += 1
        good(part, path, about, pictures)

    good = to_torch.write
    monkeypatch.setattr(to_torch, "write", worse)
    with pytest.raises(ExportError, match=r"does not compute what the network does .* and was not kept"):
        write(tmp_path, "torch-export")
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_way_stays(tmp_path):
    path = tmp_path / "network.onnx"
    path.write_text("mine")
    with pytest.raises(ExportError, match="is there, and no file of volovan export; name another one with --out"):
        write(tmp_path, "onnx")
    assert path.read_text() == "mine"
    found = ready("classify", None)
    with pytest.raises(ExportError, match=r"a file of onnx ends in \.onnx"):
        export(found, choose_format("onnx", "fp32"), tmp_path / "network.pt", about_of(found), odd_pictures(1))


def test_what_cannot_be_written_is_said(monkeypatch):
    with pytest.raises(ExportError, match=r"onnx is written in fp32, .* not in bf16; for that take --to torch-export"):
        choose_format("onnx", "bf16")
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"onnx needs onnx, onnxscript, onnxruntime: pip install 'volovan\[export\]'"):
        choose_format("onnx", "fp32")


def test_damaged_files(tmp_path):
    _, made = write(tmp_path, "torch-export")
    content = made.path.read_bytes()
    logging.disable()
    for bad in (b"", content[: len(content) // 2], b"rubbish" * 100):
        made.path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"cut off, damaged or no file of torch\.export") as caught:
            volovan.load(made.path)
        assert "\n" not in str(caught.value)
    logging.disable(logging.NOTSET)


def test_openvino_without_its_weights(tmp_path):
    pytest.importorskip("openvino")
    _, made = write(tmp_path, "openvino")
    assert [path.name for path in made.files] == ["network.xml", "network.bin"]
    content = made.files[1].read_bytes()
    made.files[1].write_bytes(content[:-100])
    with pytest.raises(ValueError, match=r"network\.bin is cut off: it has \d+ bytes of \d+; copy it again"):
        volovan.load(made.path)
    shutil.move(made.files[1], tmp_path / "elsewhere.bin")
    with pytest.raises(ValueError, match=r"has its weights in .*network\.bin, which is not there; copy both files"):
        volovan.load(made.path)
    made.path.write_text("<net><rt_info/></net>")
    with pytest.raises(ValueError, match="does not say what network it holds"):
        volovan.load(made.path)
    made.path.write_text("<net>")
    with pytest.raises(ValueError, match="is cut off, damaged or no file of OpenVINO"):
        volovan.load(made.path)
