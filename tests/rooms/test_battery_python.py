"""Every room, the toy room too, answers in the same way from Python."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import volovan
from commands import rows_of, run
from volovan.data.errors import BadImage
from volovan.engine.settings import SettingsError


def same(one, other):
    """Two answers say the same."""
    return one.row() == other.row() and one.cells() == other.cells()


def test_a_run_and_its_checkpoint_are_the_same_network(case, pictures):
    by_folder = volovan.load(case.run, device="cpu")
    by_file = volovan.load(case.run / "checkpoints" / "best.safetensors", device="cpu")
    assert by_folder.classes == by_file.classes
    assert same(by_folder.predict(pictures / "plain.png"), by_file.predict(pictures / "plain.png"))


def test_answers_equal_the_rows_of_predict(case, capsys, pictures, tmp_path):
    run(capsys, "predict", case.run, pictures, "--workers", 0, "--out", tmp_path)
    rows = rows_of(tmp_path / "predictions.csv")
    ready = volovan.load(case.run, device="cpu")
    for row, answer in zip(rows, ready.predict(sorted(map(str, pictures.iterdir()))), strict=True):
        said = answer.cells()
        assert {key: row[key] for key in said} == said
        for column, (place, picture) in ready.files(answer).items():
            if place.endswith(".png"):
                with Image.open(tmp_path / place.format(Path(row["file"]).stem)) as written:
                    assert np.array_equal(np.asarray(written), np.asarray(picture)), column


def test_many_pictures_are_answered_by_a_fused_network(case, pictures):
    ready, path = volovan.load(case.run, device="cpu"), pictures / "plain.png"
    assert ready.fused(63) is ready
    fused = ready.fused(64)
    assert fused.model is not ready.model
    assert (fused.classes, fused.options) == (ready.classes, ready.options)
    assert fused.predict(path).row().keys() == ready.predict(path).row().keys()


KINDS = ("plain.png", "turned.jpg", "grey.jpg", "cmyk.jpg", "palette.png", "alpha.png", "deep.png", "tiny.png")


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_input_gives_the_same_answer(case, pictures, name):
    """A path, a string, bytes, an open file, a PIL image, a list of one."""
    ready, path = volovan.load(case.run, device="cpu"), pictures / name
    wanted = ready.predict(path)
    with path.open("rb") as file, Image.open(path) as opened:
        others = [ready.predict(one) for one in (str(path), path.read_bytes(), file, opened)]
    others += ready.predict([path])
    assert all(same(wanted, other) for other in others)


def test_an_array_is_the_picture_that_it_holds(case, pictures):
    ready = volovan.load(case.run, device="cpu")
    with Image.open(pictures / "plain.png") as plain, Image.open(pictures / "deep.png") as deep:
        assert same(ready.predict(np.asarray(plain)), ready.predict(pictures / "plain.png"))
        assert same(ready.predict(np.asarray(deep).astype(np.uint16)), ready.predict(pictures / "deep.png"))
        grey = plain.convert("L")
        assert same(ready.predict(np.asarray(grey)), ready.predict(grey))


def test_pictures_are_not_changed(case, pictures):
    with Image.open(pictures / "turned.jpg") as opened:
        opened.load()
        before, info = opened.tobytes(), dict(opened.info)
        volovan.load(case.run, device="cpu").predict(opened)
        assert (opened.tobytes(), dict(opened.info)) == (before, info)


def test_a_stream_is_the_folder_in_order(case, pictures):
    ready = volovan.load(case.run, device="cpu")
    listed = ready.predict(sorted(map(str, pictures.iterdir())))
    streamed = list(ready.stream(pictures, workers=0))
    assert [answer.name for answer in streamed] == [answer.name for answer in listed]
    assert all(same(one, other) for one, other in zip(streamed, listed, strict=True))


def test_a_bad_picture_is_raised_by_name_or_left_out(case, pictures, tmp_path):
    shutil.copy(pictures / "plain.png", tmp_path / "b.png")
    (tmp_path / "a.png").write_bytes(b"no picture")
    ready = volovan.load(case.run, device="cpu")
    with pytest.raises(BadImage, match=r"a\.png"):
        ready.predict(tmp_path / "a.png")
    with pytest.raises(BadImage, match=r"a\.png"):
        list(ready.stream(tmp_path, workers=0))
    assert [Path(answer.name).name for answer in ready.stream(tmp_path, workers=0, on_bad="skip")] == ["b.png"]


@pytest.mark.parametrize("array", [np.zeros((3, 4, 5), np.uint8), np.zeros(7, np.uint8), np.zeros((4, 4, 3))], ids=str)
def test_an_array_that_is_no_picture_is_refused(case, array):
    with pytest.raises(BadImage, match=r"is expected|are expected"):
        volovan.load(case.run, device="cpu").predict(array)


def test_an_answer_is_drawn(case, pictures):
    drawn = volovan.load(case.run, device="cpu").predict(pictures / "plain.png").draw()
    assert isinstance(drawn, Image.Image)
    assert np.asarray(drawn.convert("L")).std() > 1


def test_an_option_that_the_room_has_not_is_refused(case):
    with pytest.raises(SettingsError, match=f"{case.room} has no option 'nonsense'; it has "):
        volovan.load(case.run, device="cpu").using(nonsense=1)


def test_options_leave_the_network_that_they_are_said_of(case):
    ready = volovan.load(case.run, device="cpu")
    other = ready.using(size=(64, 64))
    assert ready.options.size is None
    assert other.model is ready.model
