"""From annotated pictures to a loss, and back to points; input that is hardly any."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import volovan
from volovan.cli import main
from volovan.data.objects.annotated import Annotated
from volovan.data.objects.skeleton import COCO_NAMES, Skeleton
from volovan.data.sources import open_source
from volovan.pose.data import TrainSamples, View, upper_points
from volovan.pose.found import Boxes
from volovan.pose.heatmaps import Grid, peaks
from volovan.pose.inference import Reading, find_points
from volovan.pose.network import create_pose_model
from volovan.pose.recipe import AugmentSettings, TargetSettings, TestSettings

SIZE = (96, 64)
STEADY = AugmentSettings(half_body=0, shift_probability=0, rotate_probability=0, hflip=0, scale=(1.0, 1.0))
SKELETON = Skeleton(("nose", "left_eye", "right_eye"))
STATS = ((0.5,) * 3, (0.5,) * 3)


class Drawn:
    """A source of one picture."""

    kind, note, classes = "points", "", ("cat",)
    skeleton = SKELETON

    def __init__(self, boxes: list[list[float]], points: list, crowd: list[bool] | None = None) -> None:
        self.boxes, self.points = np.array(boxes, float).reshape(-1, 4), np.array(points, float).reshape(-1, 3, 3)
        self.crowd = np.array(crowd or [False] * len(self.boxes), bool)

    def __len__(self) -> int:
        return 1

    def name(self, index: int) -> str:
        return "a.png"

    def load(self, index: int) -> Image.Image:
        return Image.new("RGB", (120, 90), (200, 30, 30))

    def target(self, index: int) -> Annotated:
        labels, shapes = np.zeros(len(self.boxes), np.int64), (None,) * len(self.boxes)
        return Annotated(self.boxes, labels, self.crowd, np.full(len(self.boxes), 900.0), shapes, points=self.points)


def samples(source: Drawn, augment: AugmentSettings = STEADY, least: int = 1, **target: object) -> TrainSamples:
    settings = replace(TargetSettings(coding="dark", aligned=True), **target)  # type: ignore[arg-type]
    view = View(SIZE, 1.25, *STATS, SKELETON, augment, settings)
    return TrainSamples(source, view, SKELETON.names, ("cat",), least)  # type: ignore[arg-type]


BOX = [20.0, 10, 60, 70]
POINTS = [[40.0, 20, 2], [30, 30, 1], [50, 30, 2]]


def test_maps_stand_where_points_are_in_the_crop() -> None:
    (sample,) = [samples(Drawn([BOX], [POINTS])).read(0)]
    assert sample["image"].shape == (3, *SIZE)
    assert sample["maps"].shape == (3, 24, 16)
    assert sample["learned"].all()
    crop_width = 60 * 64 / 96 * 1.25  # the box is widened to the shape of the input
    read = Grid(True).to_picture(peaks(sample["maps"][None].double(), "dark")[0])[0].numpy()
    want = (np.array(POINTS)[:, :2] - (40, 40)) * 64 / crop_width + (32, 48)
    assert read == pytest.approx(want, abs=0.05)


def test_a_mirrored_sample_has_left_for_right() -> None:
    plain = samples(Drawn([BOX], [POINTS])).read(0)
    mirrored = samples(Drawn([BOX], [POINTS]), replace(STEADY, hflip=1.0)).read(0)
    assert torch.allclose(mirrored["maps"], plain["maps"][[0, 2, 1]].flip(-1), atol=1e-5)
    assert torch.equal(mirrored["learned"], plain["learned"][[0, 2, 1]])


@pytest.mark.parametrize("aligned", [False, True])
def test_a_network_that_finds_the_maps_finds_the_points(aligned: bool) -> None:
    """The whole way: a network that answers with the targets gives back the places in the picture, flip test too."""
    source = Drawn([BOX, [5, 5, 100, 80]], [POINTS, [[50, 40, 2], [40, 55, 2], [65, 30, 2]]])
    wanted = samples(source, aligned=aligned)
    mirrored = samples(source, replace(STEADY, hflip=1.0), aligned=aligned)
    answers = [torch.stack([reader.read(n)["maps"] for n in range(2)]) for reader in (wanted, mirrored)]

    class Sure(torch.nn.Module):
        preprocessing = replace(create_pose_model("van_b0", num_classes=3).preprocessing, mean=STATS[0], std=STATS[1])

        def __init__(self) -> None:
            super().__init__()
            self.anything, self.calls = torch.nn.Parameter(torch.zeros(1)), 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return answers[(self.calls - 1) % 2]

    picture = torch.from_numpy(np.array(source.load(0)))
    boxes = Boxes(source.boxes, np.array([0.9, 0.8]), np.zeros(2, np.int64))
    reading = Reading(SIZE, 1.25, "dark", aligned, SKELETON)
    found = find_points(Sure(), [picture], [boxes], reading, TestSettings(similar=1.0))[0]  # type: ignore[arg-type]
    scale = 100 / 64  # pixels of the picture in one of the input, of the larger object
    slack = 0.15 if aligned else 4 * scale * 0.2  # published maps of mirrored pictures are a quarter of a pixel off
    assert found.points[:, :, :2] == pytest.approx(source.points[:, :, :2], abs=slack)
    assert found.scores.tolist() == pytest.approx([0.9, 0.8], abs=0.15)


def test_the_surer_of_two_that_are_one_stays() -> None:
    model = create_pose_model("van_b0", num_classes=3).eval()
    picture = torch.from_numpy(np.array(Drawn([BOX], [POINTS]).load(0)))
    twice = Boxes(np.array([BOX, BOX]), np.array([0.5, 0.9]), np.zeros(2, np.int64))
    reading = Reading(SIZE, 1.25, "plain", False, SKELETON)
    with torch.no_grad():
        both = find_points(model, [picture], [twice], reading, TestSettings(similar=1.0, sure=0.0))[0]
        one = find_points(model, [picture], [twice], reading, TestSettings(similar=0.9, sure=0.0))[0]
        kinds = replace(twice, labels=np.array([0, 1]))
        other = find_points(model, [picture], [kinds], reading, TestSettings(similar=0.9, sure=0.0))[0]
    assert (len(both), len(one), len(other)) == (2, 1, 2)
    assert one.boxes.tolist() == [BOX]


@pytest.mark.parametrize(
    ("boxes", "points", "crowd", "taught"),
    [
        ([], [], None, 0),
        ([BOX], [[[0, 0, 0]] * 3], None, 0),  # nobody has labelled a point
        ([BOX, BOX], [POINTS, POINTS], [True, False], 1),
        ([[40, 40, 41, 41]], [POINTS], None, 1),  # one pixel
        ([[40, 40, 40, 40]], [POINTS], None, 1),  # no area at all
        ([[-500, -500, -400, -400]], [POINTS], None, 1),  # outside
        ([BOX], [[[400, 20, 2], [-30, -300, 1], [50, 30, 2]]], None, 1),  # points outside of the picture
        ([BOX], [[[1e6, 1e6, 2], [-1e6, 0, 2], [0, 0, 0]]], None, 1),
    ],
)
def test_hardly_any_input_is_finite_or_left_out(boxes: list, points: list, crowd: list | None, taught: int) -> None:
    source = Drawn(boxes, points, crowd)
    for augment in (STEADY, AugmentSettings(half_body_points=1)):
        reader = samples(source, augment)
        assert len(reader) == taught
        for _ in range(10):
            for index in range(len(reader)):
                sample = reader.read(index)
                assert torch.isfinite(sample["image"]).all()
                assert torch.isfinite(sample["maps"]).all()
                assert not sample["maps"][~sample["learned"]].any()
    model = create_pose_model("van_b0", num_classes=3).eval()
    there = Boxes(source.boxes, np.ones(len(source.boxes)), np.zeros(len(source.boxes), np.int64))
    with torch.no_grad():
        picture = torch.from_numpy(np.array(source.load(0)))
        found = find_points(model, [picture], [there], Reading(SIZE, 1.25, "dark", True, SKELETON), TestSettings())[0]
    assert np.isfinite(found.points).all()
    assert found.points.shape[1:] == (3, 3)


def test_objects_with_few_points_can_be_left_out() -> None:
    source = Drawn([BOX, BOX], [POINTS, [[40, 20, 2], [0, 0, 0], [0, 0, 0]]])
    assert [len(samples(source, least=least)) for least in (1, 2, 3)] == [2, 1, 1]


def test_upper_halves_follow_from_names() -> None:
    assert [COCO_NAMES[number] for number in upper_points(COCO_NAMES)][-1] == "right_wrist"
    assert len(upper_points(COCO_NAMES)) == 11
    assert upper_points(("corner 1", "corner 2")) == []
    assert upper_points(("head", "neck")) == []  # there is no lower half


def test_points_are_matched_by_name_in_another_order(tmp_path: Path) -> None:
    """A network with the points in another order, and one that the data lack, learns each by its name."""
    source = Drawn([BOX], [POINTS])
    view = View(SIZE, 1.25, *STATS, Skeleton(("right_eye", "tail", "nose", "left_eye")), STEADY, TargetSettings())
    reader = TrainSamples(source, view, view.skeleton.names, ("cat",), 1)  # type: ignore[arg-type]
    there = reader.there(0)
    assert there.points is not None
    assert there.points[0].tolist() == [POINTS[2], [0, 0, 0], POINTS[0], POINTS[1]]
    assert reader.read(0)["learned"].tolist() == [True, False, True, True]
    assert "tail" in reader.note


def test_detector_and_pose_compose_from_python_and_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = "{embed_dims: [8, 16, 24, 32], depths: [1, 1, 1, 1], mlp_ratios: [2, 2, 2, 2]}"
    more = ["--train.workers", "0", "--schedule.epochs", "1", "--schedule.warmup_epochs", "0", "--train.threads", "1"]
    common = ["--model.options", net, "--data.source", "shapes:16@64x64", *more]
    pose = ["fit", "shapes_pose", "--out", str(tmp_path / "pose"), "--data.size", "[64,64]", *common]
    assert main([*pose, "--model.head_options", "{width: 16}"]) == 0
    boxes = ["fit", "shapes_detect", "--out", str(tmp_path / "boxes"), "--augment.resize", "[64,64]", *common]
    assert main([*boxes, "--test.size", "[64,64]", "--model.head_options", "{width: 16}"]) == 0
    picture = tmp_path / "scene.png"
    open_source("shapes:4@96x64", "val", kind="points").load(0).save(picture)
    words = ["--detector", str(tmp_path / "boxes"), "--detector-score", "0.001"]
    assert main(["predict", str(tmp_path / "pose"), str(picture), *words, "--out", str(tmp_path / "found")]) == 0
    ready = volovan.load(tmp_path / "pose", device="cpu")
    answer = ready.using(detector=str(tmp_path / "boxes"), detector_score=0.001).predict(picture)
    found = volovan.load(tmp_path / "boxes", device="cpu").using(score=0.001).predict(picture)
    figures = [box for box, name in zip(found.boxes.tolist(), found.names, strict=True) if name == "figure"]
    assert 0 < len(answer) <= len(figures)
    assert all(box in figures for box in answer.boxes.tolist())
    rows = (tmp_path / "found" / "points.csv").read_text().splitlines()
    assert len(rows) == 1 + 7 * len(answer)
    words = ["--boxes", str(tmp_path / "found" / "coco.json"), "--out", str(tmp_path / "again")]
    assert main(["predict", str(tmp_path / "pose"), str(picture), *words]) == 0
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "pose"), str(picture), "--detector", str(tmp_path / "pose")]) == 2
    assert "is of the task pose; name a run of detection" in capsys.readouterr().err
