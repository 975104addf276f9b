"""Objects in boxes: what open_source makes of COCO's JSON, of YOLO's texts and of drawn scenes."""

import pickle
from functools import partial

import numpy as np

from volovan.data.sources import list_splits, open_source
from volovan.data.synthetic.shapes import draw_scene
from volovan.data.synthetic.shapes_classes import SHAPE_CLASSES

open_boxes, list_boxes = partial(open_source, kind="boxes"), partial(list_splits, kind="boxes")


def test_things_of_a_scene_are_objects() -> None:
    assert list_boxes("shapes:4@64x48") == ("train", "val")
    source = pickle.loads(pickle.dumps(open_boxes("shapes:4@64x48", "train")))
    assert source.kind == "boxes"
    assert source.classes == ("disc", "ring", "square", "triangle", "star", "cross", "figure")
    for index in range(4):
        scene, told = draw_scene("train", index, 48, 64), source.target(index)
        assert len(told) == len(scene.instances) > 0
        for row, one in enumerate(scene.instances):
            assert source.classes[told.labels[row]] == SHAPE_CLASSES[one.category].name
            assert told.boxes[row].tolist() == list(one.box)
            painted = np.zeros((48, 64), bool)
            told.shapes[row].paint(painted, 1)
            assert np.array_equal(painted, one.mask)
            assert told.areas[row] == one.mask.sum()
        assert not told.crowd.any()
