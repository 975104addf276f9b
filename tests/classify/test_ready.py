"""A recipe with weights of others gives the network that a run of the recipe would validate."""

import pytest
from PIL import Image
from safetensors.torch import save_file

import volovan

SMALL = "embed_dims: [8, 8, 16, 16], depths: [1, 1, 1, 1], mlp_ratios: [2, 2, 2, 2]"


@pytest.mark.parametrize(
    ("data", "size", "crop"),
    [
        ("size: [64, 96]", (64, 96), 0.9),
        ("size: [64, 96], eval_size: [80, 112], crop_pct: 0.7", (80, 112), 0.7),
        ("size: 64, crop_pct: 1.0", (64, 64), 1.0),
    ],
)
def test_a_recipe_says_how_weights_of_others_see(tmp_path, data, size, crop):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"task: classify\nmodel: {{name: van, options: {{{SMALL}}}}}\ndata: {{source: digits, {data}}}\n"
        "schedule: {epochs: 1}\ntrain: {max_steps: 1, batch_size: 4}\n"
    )
    assert volovan.create_model("van_b0").preprocessing.crop_pct == 0.9  # what the recipe lays its own over
    own = volovan.create_model(
        "van", num_classes=10, embed_dims=(8, 8, 16, 16), depths=(1, 1, 1, 1), mlp_ratios=(2, 2, 2, 2)
    )
    save_file(own.state_dict(), tmp_path / "own.safetensors")
    ready = volovan.load(recipe, weights=tmp_path / "own.safetensors")
    assert (ready.preprocessing.input_size, ready.preprocessing.crop_pct) == (size, crop)
    assert ready.transform()(Image.new("RGB", (300, 200))).shape == (3, *size)
