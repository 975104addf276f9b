"""What is labelled: values, layouts, sizes, classes; and what is refused before anything is made."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from labelling import ALONE, LAYOUTS, PLAN, quiet
from volovan.data.samples import ArraySource, FileSource
from volovan.labels import LabelError
from volovan.labels.generate import generate
from volovan.labels.keys import label_key
from volovan.labels.store import open_labels
from volovan.labels.view import TeacherView, seen_size


@pytest.mark.parametrize("layout", LAYOUTS)
def test_maps_hold_the_largest_logits_of_the_teacher(tmp_path, tiny_teacher, digits, layout):
    source = digits(100)
    generate(tiny_teacher, source, tmp_path / "out", replace(PLAN, layout=layout), ALONE, quiet)
    store = open_labels(tmp_path / "out")
    view = TeacherView(tiny_teacher.preprocessing, 32, "centre", tiny_teacher.stride)
    assert (len(store), store.top, store.coverage, store.classes) == (100, 5, "centre", tuple("0123456789"))
    for index in (0, 37, 99):
        pixels = view.normalise(view.pixels(source.load(index), "x")[None])
        dense = tiny_teacher.head.dense(tiny_teacher.head.features(pixels))[0]
        read = store.read(label_key(source.name(index)))
        assert (read.dtype, read.shape) == (torch.float16, (2, 5, 4, 4))
        assert torch.allclose(read[0].float(), dense.sort(0, descending=True)[0][:5], atol=0.02, rtol=2e-3)
        assert torch.allclose(dense.gather(0, read[1].long()), read[0].float(), atol=0.02, rtol=2e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_layouts_hold_the_same_bits(whole, tmp_path, tiny_teacher, digits, layout):
    other = "published" if layout == "compact" else "compact"
    one = open_labels(whole(replace(PLAN, layout=layout), 60))
    generate(tiny_teacher, digits(60), tmp_path / "two", replace(PLAN, layout=other), ALONE, quiet)
    two = open_labels(tmp_path / "two")
    assert list(one.keys) == list(two.keys)
    assert all(one.read(key).numpy().tobytes() == two.read(key).numpy().tobytes() for key in one.keys)


CHANGES = {
    "size": ({"size": 64}, "--size was 32, now 64"),
    "crop": ({"coverage": "image"}, "--crop was centre, now image"),
    "top": ({"top": 3}, "--top was 5, now 3"),
    "dtype": ({"dtype": "float32"}, "--dtype was float16, now float32"),
    "layout": ({"layout": "published"}, "--layout was compact, now published"),
    "precision": ({"precision": "bf16"}, "--precision was fp32, now bf16"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_settings_are_refused_by_name(whole, tiny_teacher, digits, contents, change):
    out = whole(PLAN, 20)
    before = contents(out)
    values, said = CHANGES[change]
    with pytest.raises(
        LabelError, match=f"was begun with other settings: {said}; give the same ones to go on"
    ) as caught:
        generate(tiny_teacher, digits(20), out, replace(PLAN, **values), ALONE, quiet)
    assert str(out) in str(caught.value)
    assert contents(out) == before


def test_another_teacher_or_source_is_refused_by_name(whole, tiny_teacher, digits, tmp_path):
    out = whole(PLAN, 20)
    other = replace(tiny_teacher, name="other", digest="f" * 64)
    with pytest.raises(LabelError, match=r"the teacher was tiny with weights \w{12}, now other with weights f{12};"):
        generate(other, digits(20), out, PLAN, ALONE, quiet)
    with pytest.raises(LabelError, match=r"the pictures of the source \(or --limit\) have changed"):
        generate(tiny_teacher, digits(21), out, PLAN, ALONE, quiet)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(LabelError, match=r"mine holds thesis\.txt but no labels\.json; name a new or empty folder"):
        generate(tiny_teacher, digits(21), tmp_path / "mine", PLAN, ALONE, quiet)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_second_source_is_refused_in_both_layouts(whole, tiny_teacher, digits, contents, layout):
    plan = replace(PLAN, layout=layout, split="train")
    out = whole(plan, 20)
    before = contents(out)
    with pytest.raises(LabelError, match=r"the pictures of the source \(or --limit\) have changed, or their order"):
        generate(tiny_teacher, digits(21), out, plan, ALONE, quiet)
    with pytest.raises(LabelError, match=r"--split was train, now val"):  # digits/0 is in both
        generate(tiny_teacher, digits(20), out, replace(plan, split="val"), ALONE, quiet)
    generate(tiny_teacher, digits(20), out, replace(plan, split=None), ALONE, quiet)
    assert contents(out) == before


@pytest.mark.parametrize(("layout", "workers"), [("compact", 2), ("published", 0)])
def test_unreadable_pictures_stop_or_are_left_out(tmp_path, tiny_teacher, small_units, layout, workers):
    files = [f"cat/{number}.png" for number in range(40)]
    (tmp_path / "in" / "cat").mkdir(parents=True)
    for file in files:
        Image.effect_noise((40, 36), 60).convert("RGB").save(tmp_path / "in" / file)
    (tmp_path / "in" / files[18]).write_bytes(b"hello")
    source = FileSource(tmp_path / "in", files, [0] * 40, ["cat"])
    plan = replace(PLAN, layout=layout, workers=workers)
    with pytest.raises(LabelError, match=r"cat/18\.png: .*text.*; remove or mend the file .* or use --on-bad skip"):
        generate(tiny_teacher, source, tmp_path / "out", plan, ALONE, quiet)
    made = generate(tiny_teacher, source, tmp_path / "out", replace(plan, skip_bad=True), ALONE, quiet)
    assert len(made.skipped) == 1
    assert made.skipped[0].startswith("cat/18.png: ")
    store = open_labels(tmp_path / "out")
    assert sorted(store.keys) == sorted(label_key(file) for file in files if file != files[18])


def test_two_pictures_of_one_key_are_refused_before_anything_is_made(tmp_path, tiny_teacher):
    source = FileSource(tmp_path, ["cat/a.b.jpg", "cat/a.c.jpg"])
    with pytest.raises(LabelError, match=r"cat/a\.b\.jpg and cat/a\.c\.jpg would share the label map 'cat/a'"):
        generate(tiny_teacher, source, tmp_path / "out", PLAN, ALONE, quiet)
    assert not (tmp_path / "out").exists()


def test_values_that_the_type_cannot_hold_are_refused(tmp_path, tiny_teacher, digits):
    class Loud:
        mean_is_logits = True
        features = staticmethod(tiny_teacher.head.features)

        def dense(self, features):
            return 1e5 * tiny_teacher.head.dense(features)

    with pytest.raises(LabelError, match=r"for the picture digits/\d+ that float16 cannot hold"):
        generate(replace(tiny_teacher, head=Loud()), digits(10), tmp_path / "a", PLAN, ALONE, quiet)
    generate(
        replace(tiny_teacher, head=Loud()), digits(10), tmp_path / "b", replace(PLAN, dtype="float32"), ALONE, quiet
    )


def test_whole_pictures_keep_their_proportion(tmp_path, tiny_teacher):
    """Stride 8, shorter side 32: 60 x 40 becomes 48 x 32, so the map is 6 wide and 4 high."""
    sizes = [(60, 40), (40, 60), (40, 40), (100, 40)]
    (tmp_path / "in").mkdir()
    for number, size in enumerate(sizes):
        Image.effect_noise(size, 60).convert("RGB").save(tmp_path / "in" / f"{number}.png")
    source = FileSource(tmp_path / "in", [f"{number}.png" for number in range(4)])
    generate(tiny_teacher, source, tmp_path / "out", replace(PLAN, coverage="image"), ALONE, quiet)
    store = open_labels(tmp_path / "out")
    assert store.coverage == "image"
    assert [tuple(store.read(str(n)).shape[2:]) for n in range(4)] == [(4, 6), (6, 4), (4, 4), (4, 10)]


@pytest.mark.parametrize(("size", "near"), [(36, "32 or 40"), (5, "8")])
def test_whole_pictures_need_a_size_of_whole_cells(tmp_path, tiny_teacher, digits, size, near):
    plan = replace(PLAN, coverage="image", size=size)
    with pytest.raises(LabelError, match=f"--size is {size}, .* must be a multiple of 8, .* of tiny; take {near}$"):
        generate(tiny_teacher, digits(4), tmp_path / "out", plan, ALONE, quiet)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("picture", "seen"),
    [((500, 375), (224, 288)), ((375, 500), (288, 224)), ((333, 333), (224, 224)), ((1000, 100), (224, 2240))],
)
def test_the_longer_side_is_whole_cells(picture, seen):
    assert seen_size(picture, 224, 32) == seen


def test_the_centre_square_is_that_of_the_resized_picture(tiny_teacher):
    """A white square in the middle of a black picture fills what the teacher sees; a strip at the side is not seen."""
    pixels = np.zeros((50, 150, 3), np.uint8)
    pixels[:, 50:100] = 255
    view = TeacherView(tiny_teacher.preprocessing, 32, "centre", 8)
    seen = np.array(view.picture(Image.fromarray(pixels)))
    assert seen.shape == (32, 32, 3)
    assert seen[:, 4:28].min() > 240
    assert view.picture(Image.fromarray(pixels[:, :50])).size == (32, 32)
    source = ArraySource("a", np.zeros((1, 2, 128, 3), np.uint8), np.zeros(1), ["x"])
    with pytest.raises(ValueError, match=r"a\[0\]: is 128x2; a side of more than 32 times the other is not labelled"):
        view.pixels(source.load(0), source.name(0))


def test_many_classes_get_exact_indices(tmp_path, tiny_teacher, digits):
    """Beyond 2,048 classes float16 would round the index, with logits of float16 too."""

    class Wide:
        mean_is_logits = True
        features = staticmethod(tiny_teacher.head.features)

        def dense(self, features):
            dense = tiny_teacher.head.dense(features)
            filler = torch.full((len(dense), 4991, *dense.shape[2:]), -1e4)
            return torch.cat([filler, dense], 1)

    teacher = replace(tiny_teacher, head=Wide(), num_classes=5001, classes=None)
    generate(teacher, digits(20), tmp_path / "out", PLAN, ALONE, quiet)
    generate(tiny_teacher, digits(20), tmp_path / "plain", PLAN, ALONE, quiet)
    wide, plain = open_labels(tmp_path / "out"), open_labels(tmp_path / "plain")
    for key in plain.keys:
        assert torch.equal(wide.read(key)[1], plain.read(key)[1].float() + 4991)
        assert torch.equal(wide.read(key)[0], plain.read(key)[0].float())
    with pytest.raises(LabelError, match="5,001 classes, and float16 holds whole numbers up to 2,048 exactly"):
        generate(teacher, digits(20), tmp_path / "no", replace(PLAN, layout="published"), ALONE, quiet)
