"""The segmentation task behind the engine: data, class weights, loss, description."""

import numpy as np
import pytest
import torch
from PIL import Image

from volovan.engine.settings import SettingsError
from volovan.engine.task import parts_of
from volovan.room.network import described
from volovan.segment.data import EvalTransform, MaskSamples
from volovan.segment.network import Segmenter
from volovan.segment.recipe import (
    AugmentSettings,
    DataSettings,
    LossSettings,
    ModelSettings,
    Recipe,
)
from volovan.segment.recipe import TestSettings as Inference
from volovan.segment.task import SegmentTask

TINY = {"embed_dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "mlp_ratios": [2, 2, 2, 2]}


def recipe(**sections) -> Recipe:
    model = ModelSettings(name="van", options=TINY, head_options={"pyramid_channels": 8, "channels": 8})
    whole = {"model": model, "data": DataSettings(source="shapes:40@64x64"), "augment": AugmentSettings(crop=64)}
    return Recipe(**{**whole, **sections})


class Painted:
    """Three pictures with the masks that a test gives."""

    classes, palette, note = ("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)), ""

    def __init__(self, *masks):
        self.masks = masks

    def __len__(self):
        return len(self.masks)

    def name(self, index):
        return f"{index}.png"

    def load(self, index):
        return Image.new("RGB", self.masks[index].shape[::-1])

    def target(self, index):
        return self.masks[index]


def test_a_task_trains_scores_and_describes_itself():
    task = SegmentTask(recipe())
    data = task.build_data()
    batch = data.train.collate([data.train.read(i) for i in range(2)])
    assert batch["image"].shape == (2, 3, 64, 64)
    assert batch["mask"].shape == (2, 64, 64)
    model = task.build_model()
    loss, _ = parts_of(task.loss(model, batch))
    loss.backward()
    assert torch.isfinite(loss)
    metric = task.new_metric(torch.device("cpu"))
    model.eval()
    metric.update(model, data.val.collate([data.val.read(i) for i in range(3)]))
    assert set(metric.finish()) == {"miou", "macc", "aacc"}
    again = described(Segmenter, task.describe())
    again.load_state_dict(model.state_dict())
    assert again.preprocessing == model.preprocessing


def test_class_weights_come_from_the_training_masks():
    task = SegmentTask(recipe(loss=LossSettings(class_weights="balanced")))
    task.build_data()
    assert task.weight is not None
    assert float(task.weight.mean()) == pytest.approx(1)
    assert task.weight[0] < task.weight[1:].max()  # the ground is the most frequent


def test_a_wrong_number_of_class_weights_is_refused():
    with pytest.raises(SettingsError, match=r"loss.class_weights has 2 numbers, but the data have \d+ classes"):
        SegmentTask(recipe(loss=LossSettings(class_weights=(1.0, 2.0)))).build_data()


def test_pictures_of_many_sizes_need_a_crop():
    task = SegmentTask(recipe(augment=AugmentSettings(crop=None)))
    samples = task.build_data().train
    pairs = [{"image": torch.zeros(3, s, 64), "mask": torch.zeros(s, 64, dtype=torch.uint8)} for s in (64, 96)]
    batch = samples.collate([{"index": number, **pair} for number, pair in enumerate(pairs)])
    with pytest.raises(SettingsError, match=r"sizes 64x64, 96x64; set augment\.crop"):
        task.loss(task.build_model(), batch)


def test_classes_are_translated_by_name():
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    samples = MaskSamples(Painted(mask), EvalTransform((0,) * 3, (1,) * 3), ("c", "x", "b", "a"))
    assert samples.mask(0).tolist() == [[3, 2], [0, 255]]
    assert samples.absent == (1,)
    assert "another order of names than the network: they are matched by name; the data lack 1 of the 4" in samples.note
    same = MaskSamples(Painted(mask), EvalTransform((0,) * 3, (1,) * 3), ("a", "b", "c"))
    assert same.mask(0) is mask
    assert not same.note


def test_a_class_that_the_network_does_not_know_is_named():
    said = r"1 class that is not learned: 'c'; learned are 'a', 'b'\. Give it the learned name"
    with pytest.raises(SettingsError, match=said):
        MaskSamples(Painted(), EvalTransform((0,) * 3, (1,) * 3), ("a", "b"))


def test_other_classes_are_refused_before_a_run_goes_on():
    task = SegmentTask(recipe())
    task.build_data()
    about = task.describe()
    about["classes"] = ["extra", *about["classes"][:-1]]
    with pytest.raises(SettingsError, match=r"number 0 of 10 was 'extra', it is 'plain' of 10 now"):
        SegmentTask(recipe(), about).build_data()


def test_masks_without_any_label_are_refused():
    void, labelled = np.full((40, 40), 255, np.uint8), np.zeros((40, 40), np.uint8)
    task = SegmentTask(recipe())
    with pytest.raises(SettingsError, match=r"^mine: all pixels of the val split \(300 masks\) are ignored \(255\)"):
        task.check_source(Painted(*[void] * 300), "mine", "val")
    task.check_source(Painted(*[void] * 299, labelled), "mine", "val")
    with pytest.raises(
        SettingsError, match=r"all labelled pixels of the train split \(2 masks\) are 'a', so there is nothing"
    ):
        task.check_source(Painted(void, labelled), "mine", "train")


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"augment": AugmentSettings(scale=(2.0, 0.5))}, "augment.scale is"),
        ({"augment": AugmentSettings(crop=16)}, "augment.crop is 16; at least 32 pixels are needed"),
        ({"augment": AugmentSettings(class_ratio=0)}, "augment.class_ratio is 0"),
        ({"loss": LossSettings(ohem=1.5)}, "loss.ohem is 1.5"),
        ({"loss": LossSettings(name="focal", smoothing=0.1)}, "loss.smoothing is 0.1; it belongs to the cross entropy"),
        ({"test": Inference(mode="slide", window=64, stride=65)}, "test.stride is 65 for test.window 64"),
        ({"test": Inference(scales=())}, "test.scales is"),
        ({"test": Inference(size=(100_000, 64))}, "test.size is"),
        ({"data": DataSettings(source="shapes", limit=0)}, "data.limit is 0"),
        (
            {"model": ModelSettings(options={"num_classes": 3})},
            "options.num_classes is not taken; it follows",
        ),
    ],
    ids=["scale", "crop", "ratio", "ohem", "smoothing", "stride", "scales", "size", "limit", "reserved"],
)
def test_settings_that_cannot_work_are_named(sections, sentence):
    with pytest.raises(SettingsError, match=sentence):
        recipe(**sections).check()
