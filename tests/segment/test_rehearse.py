"""What a rehearsal says of the data and the network that a run stands for."""

import numpy as np
import pytest
from PIL import Image

from volovan.segment.recipe import DataSettings, ModelSettings, Recipe
from volovan.use.rehearse import cost, data_size


@pytest.mark.parametrize("source", ["$SOME_DATA/camvid", "${SOME_DATA}/camvid"])
def test_data_are_counted_behind_a_variable(tmp_path, monkeypatch, source):
    recipe = Recipe(data=DataSettings(source=source))
    monkeypatch.delenv("SOME_DATA", raising=False)
    assert data_size(recipe).whence == "known of camvid"
    for name in "abc":
        for kind, shape in (("images", (8, 8, 3)), ("masks", (8, 8))):
            path = tmp_path / "camvid" / kind / "train" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full(shape, "abc".index(name), np.uint8)).save(path)
    monkeypatch.setenv("SOME_DATA", str(tmp_path))
    size = data_size(recipe)
    assert (size.pictures, size.classes) == (3, 3)
    assert size.whence == f"counted in {tmp_path}/camvid"


def test_cost_is_that_of_training_with_the_auxiliary_head():
    options = {"embed_dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
    heads = ({"channels": 8}, {"channels": 8, "auxiliary": False})
    nets = [ModelSettings(name="van", head="upernet", options=options, head_options=more) for more in heads]
    costs = [cost(Recipe(model=net), 3).gmacs for net in nets]
    # 3 x 3 convolution of 16 channels to 256 and a classifier of 3, on the 32 x 32 positions of stride 16
    assert costs[0] - costs[1] == pytest.approx(32 * 32 * 256 * (9 * 16 + 3) / 1e9, abs=0.011)
