"""Ablation files and run folders for the tests of this folder."""

from pathlib import Path

import pytest
import yaml

from volovan.bench.ablation import read_ablation

RECIPE = {
    "task": "classify",
    "model": {
        "name": "van",
        "options": {"embed_dims": [8], "depths": [1], "mlp_ratios": [2], "strides": [4], "patch_kernels": [7]},
    },
    "data": {"source": "digits", "size": 16, "crop_pct": 1.0, "limit": 64},
    "augment": {"randaugment": None, "erase": 0.0},
    "schedule": {"epochs": 4, "warmup_epochs": 0},
    "train": {"batch_size": 32, "workers": 0, "tensorboard": False, "log_steps": 1},
}


@pytest.fixture
def write_ablation(tmp_path: Path):
    """write_ablation(rows, **keys) -> path of an ablation file beside a tiny recipe on digits, its base."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))

    def write(rows: object, name: str = "rows", **keys: object) -> Path:
        content = {"base": "tiny.yaml", "rows": rows, **keys}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return path

    return write


@pytest.fixture
def make_run():
    """make_run(job, [top1 of each epoch, None without a validation]) leaves what a finished run leaves."""
    from dataclasses import asdict

    def make(job, values, seconds_per_epoch=2.0):
        job.folder.mkdir(parents=True)
        settings = yaml.safe_dump(asdict(job.settings)).replace("!!python/tuple", "")
        (job.folder / "recipe.yaml").write_text(settings)
        lines = ["epoch,step,loss,top1,seconds"]
        for epoch, value in enumerate(values, 1):
            shown = "" if value is None else value
            lines.append(f"{epoch},{2 * epoch},1.5,{shown},{seconds_per_epoch * epoch}")
        (job.folder / "metrics.csv").write_text("\n".join(lines) + "\n")

    return make


@pytest.fixture
def read_rows(write_ablation):
    """read_rows(rows, **keys) -> the Ablation."""
    return lambda rows, **keys: read_ablation(write_ablation(rows, **keys))
