"""Fixtures of the saliency tests: small networks, a recipe on drawn scenes, and a run of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TRUNKS: dict[str, dict[str, Any]] = {
    "van": {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1), "mlp_ratios": (2, 2, 2, 2)},
    "volo": {
        "depths": (1, 1),
        "embed_dims": (16, 32),
        "num_heads": (1, 2),
        "mlp_ratios": (2, 2),
        "mixers": ("outlook", "attention"),
        "downsamples": (True, False),
        "stem_width": 8,
        "class_blocks": 1,
    },
    "lvvit": {"depth": 4, "embed_dim": 32, "num_heads": 2, "stem_width": 8},
}
HEAD = {"widths": (8, 16, 16, 16, 16, 16), "extreme": 16, "units": 1}
RECIPE = """
task: saliency
model:
  name: van
  options: {embed_dims: [8, 16, 24, 32], depths: [1, 1, 1, 1], mlp_ratios: [2, 2, 2, 2]}
  head_options: {widths: [8, 16, 16, 16, 16, 16], extreme: 16, units: 1}
data: {source: "shapes:16@72x64", size: 64, mixed_sizes: [32, 64]}
augment: {color_jitter: 0.2, cutmix: 0.5, rotate: 10, crop_scale: [0.5, 1.0]}
optim: {lr: 3.0e-3}
schedule: {epochs: 2, warmup_epochs: 0, per: step}
train: {batch_size: 8, workers: 0, tensorboard: false, device: cpu}
"""


@pytest.fixture(scope="session")
def small() -> Callable[..., Any]:
    """small("van", **settings): a saliency network with few channels."""
    from volovan.saliency.network import create_saliency_model

    def make(trunk: str = "van", **settings: Any) -> Any:
        options = {"img_size": 64, "trunk_options": TRUNKS[trunk], "head_options": HEAD, **settings}
        return create_saliency_model(trunk, **options)

    return make


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """A recipe that takes seconds."""
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of RECIPE."""
    from volovan.cli import main

    folder = tmp_path_factory.mktemp("saliency")
    (folder / "tiny.yaml").write_text(RECIPE)
    assert main(["fit", str(folder / "tiny.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def golden_cases() -> Any:
    """The module make_golden.py: cases(), oracle(), GOLDEN."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("make_golden", Path(__file__).with_name("make_golden.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
