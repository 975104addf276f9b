"""A detection run from settings to what it keeps: frozen norms, outlines, shapes of batches, what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from annotating import coco, picture, write
from volovan.cli import main
from volovan.detect.inference import find_each, seen_by
from volovan.detect.network import Detector
from volovan.detect.recipe import Recipe, TestSettings
from volovan.detect.task import DetectTask
from volovan.engine.optim import keep_frozen_statistics
from volovan.engine.settings import SettingsError

SMALL = {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "mlp_ratios": [2, 2, 2, 2]}


def recipe_of(head: str = "retinanet", source: str = "shapes:12@64x64", **sections: dict[str, Any]) -> Recipe:
    recipe = Recipe()
    recipe.model.name, recipe.model.head, recipe.model.options = "van", head, dict(SMALL)
    recipe.model.head_options = {"width": 16} | ({"taught": 16, "proposals": 50} if "mask" in head else {})
    recipe.data.source, recipe.augment.resize, recipe.test.size = source, (64, 64), (64, 64)
    for section, values in sections.items():
        for key, value in values.items():
            setattr(getattr(recipe, section), key, value)
    return recipe


def batch_of(task: DetectTask, count: int = 3) -> dict[str, Any]:
    reader: Any = task.build_data().train
    return reader.collate([reader.read(index) for index in range(count)])


@pytest.mark.parametrize("frozen", [False, True])
def test_norms_of_the_trunk_stay_where_they_are_frozen(frozen: bool) -> None:
    task = DetectTask(recipe_of(model={"frozen_norm": frozen}))
    batch, model = batch_of(task), task.build_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    keep_frozen_statistics(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum(task.loss(model, batch).values()).backward()
    optimizer.step()
    after = model.state_dict()
    norms = [
        f"{name}.{part}"
        for name, module in model.trunk.named_modules(prefix="trunk")
        if isinstance(module, torch.nn.BatchNorm2d)
        for part in ("weight", "bias", "running_mean", "running_var")
    ]
    assert len(norms) > 20
    assert all(torch.equal(before[name], after[name]) for name in norms) == frozen
    assert not torch.equal(before["trunk.patch_embed2.proj.weight"], after["trunk.patch_embed2.proj.weight"])


def test_losses_of_masks_are_there_for_heads_with_masks_alone() -> None:
    for head, parts in (
        ("retinanet", {"class", "box"}),
        ("mask_rcnn", {"class", "box", "mask", "rpn_class", "rpn_box"}),
    ):
        task = DetectTask(recipe_of(head))
        assert task.loss(task_model(task), batch_of(task)).keys() == parts


def task_model(task: DetectTask) -> Detector:
    task.build_data()
    return task.build_model().train()


def test_batches_of_wide_and_of_tall_pictures(tmp_path: Path) -> None:
    images = []
    for number in range(8):
        width, height = (40, 60) if number % 2 else (60, 40)
        picture(tmp_path / f"{number}.png", (width, height))
        images.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
    boxes = [{"image_id": number, "bbox": [5, 5, 20, 20]} for number in range(8)]
    write(tmp_path / "all.json", coco(images, boxes, ("thing",)))
    task = DetectTask(recipe_of(source=str(tmp_path), data={"by_shape": True}))
    data = task.build_data()
    sizes = [data.train.source.load(index).size for index in range(len(data.train))]
    assert data.groups == [int(height > width) for width, height in sizes]
    assert {*data.groups} == {0, 1}
    with pytest.raises(SettingsError, match=r"png: .* \(thing\) has a box, but no outline; draw one .*cascade_rcnn"):
        DetectTask(recipe_of("mask_rcnn", str(tmp_path))).build_data()
    with pytest.raises(SettingsError, match="has a box, but no outline"):
        DetectTask(recipe_of(source=str(tmp_path), augment={"copy_paste": 0.5})).build_data()


def test_an_answer_does_not_depend_on_what_else_is_asked() -> None:
    task = DetectTask(recipe_of("mask_rcnn"))
    model = task_model(task).eval()
    torch.manual_seed(0)
    images = [torch.randn(3, 64, 64), torch.randn(3, 48, 64), torch.randn(3, 64, 64)]
    sizes, test = [(128, 128), (96, 128), (64, 64)], TestSettings(score=0.0, batch=2)
    with torch.no_grad():
        every = find_each(model, images, sizes, test)
        for image, size, found in zip(images, sizes, every, strict=True):
            (alone,) = find_each(model, [image], [size], test)
            assert len(alone) == len(found)
            torch.testing.assert_close(torch.tensor(alone.boxes), torch.tensor(found.boxes), rtol=1e-3, atol=1e-2)
            assert (found.boxes[:, 2:] <= (size[1], size[0])).all()


def test_a_picture_that_is_one_tile_is_the_picture() -> None:
    task = DetectTask(recipe_of())
    model = task_model(task).eval()
    scene = task.open("shapes:12@64x64", "val", None).load(0)
    plain = TestSettings(size=(64, 64), score=0.0)
    tiled = TestSettings(size=(64, 64), score=0.0, tile=64)
    size = (scene.height, scene.width)
    with torch.no_grad():
        (one,) = find_each(model, [seen_by(model, plain)(scene)], [size], plain)
        (other,) = find_each(model, [seen_by(model, tiled)(scene)], [size], tiled)
    assert len(one) == len(other) > 0
    torch.testing.assert_close(torch.tensor(one.boxes), torch.tensor(other.boxes))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--augment.shorts", "[480]", "--augment.resize", "null"], "augment.resize is null; give it the longest side"),
        (["--augment.jitter", "[2,1]"], "augment.jitter is [2.0, 1.0]; two numbers above 0"),
        (["--augment.copy_paste", "2"], "augment.copy_paste is 2.0; 0 to 1 is taken"),
        (["--train.sampling", "balanced"], "set data.repeat"),
        (["--test.size", "[8,8]"], "test.size is 8; 32 to"),
        (["--test.batch", "0"], "test.batch is 0; at least 1"),
        (["--test.tile", "8"], "test.tile is 8; at least 32 pixels"),
        (["--data.size", "64"], "augment.resize, and test.size"),
        (["--augment.mixup", "0.5"], "augment.copy_paste"),
        (["--model.head", "mask"], "mask_rcnn"),
        (["--model.head_options", "{taught: 5}"], "no option 'taught'"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_key(words, said, capsys, tmp_path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        "task: detect\n"
        "model: {name: van, head: retinanet, options: {embed_dims: [8, 16, 24, 32], depths: [1, 1, 1, 1]}}\n"
        'data: {source: "shapes:12@64x64"}\naugment: {resize: [64, 64]}\n'
    )
    assert main(["fit", str(recipe), "--out", str(tmp_path / "run"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
