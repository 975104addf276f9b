"""A micro-batch that leaves BatchNorm one value of a channel is refused before the first step, with keys that help."""

from collections.abc import Callable
from pathlib import Path

import pytest

from volovan.cli import main

SHORT = ["--train.max_steps", "1", "--train.workers", "0", "--train.device", "cpu", "--data.limit", "4"]
DEEP = "{dims: [8, 8, 8, 8], depths: [1, 1, 1, 1], mlp_ratios: [1, 1, 1, 1]}"
ROOMS = {
    "classify": ["digits_van", "--data.size", "32", "--model.options", DEEP],
    "segment": ["shapes_van", "--data.source", "shapes:10@32x32", "--augment.crop", "32", "--model.options", DEEP],
    "upernet": [
        *("shapes_van", "--data.source", "shapes:10@64x64", "--augment.crop", "64", "--model.options", DEEP),
        *("--model.head", "upernet", "--model.head_options", "{channels: 8}"),
    ],
    "saliency": ["shapes_edn", "--data.source", "shapes:10@32x32", "--data.size", "32", "--model.options", DEEP],
}
LARGER = {"classify": ["--data.size", "64"], "segment": ["--augment.crop", "64"]}
"""settings that follow the last remedy"""


@pytest.fixture
def fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(room: str, *words: str) -> tuple[int, str]:
        status = main(["fit", *ROOMS[room], *SHORT, *words, "--out", str(tmp_path / "run")])
        return status, capsys.readouterr().err

    return run


@pytest.mark.parametrize("room", ROOMS)
def test_one_picture_at_once_is_refused_with_the_keys(room: str, fit: Callable[..., tuple[int, str]], tmp_path) -> None:
    status, said = fit(room, "--train.batch_size", "1")
    assert status == 2
    assert "the network sees 1 picture at once (train.batch_size 1)" in said
    assert "raise train.batch_size to 2 or more" in said
    assert ("make the pictures larger with --" in said) == (room != "upernet")  # it pools them to one value each
    assert not (tmp_path / "run").exists()


def test_the_remedies_work(fit: Callable[..., tuple[int, str]]) -> None:
    assert (
        "or lower train.accumulate (now 4)" in fit("classify", "--train.batch_size", "4", "--train.accumulate", "4")[1]
    )
    assert fit("classify", "--train.batch_size", "4", "--train.accumulate", "2")[0] == 0


@pytest.mark.parametrize("room", ROOMS)
def test_two_pictures_are_enough(room: str, fit: Callable[..., tuple[int, str]]) -> None:
    assert fit(room, "--train.batch_size", "2")[0] == 0


@pytest.mark.parametrize("room", LARGER)
def test_larger_pictures_are_enough(room: str, fit: Callable[..., tuple[int, str]]) -> None:
    assert fit(room, "--train.batch_size", "1", *LARGER[room])[0] == 0
