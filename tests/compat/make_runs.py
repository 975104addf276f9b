"""Makes kept/, the runs that test_old_runs.py holds every later version of the code to. Once, with the code of 767e22a:

    git worktree add /tmp/old 767e22a
    PYTHONPATH=/tmp/old/src OMP_NUM_THREADS=1 python tests/compat/make_runs.py [CASE ...]

kept/machine.json   where and with which versions that was: there, and only there, bits are expected to be equal
kept/CASE/fit.yaml  written by hand: the recipe, which says at its top what the case is about
    run/            the run, stopped in the middle, as its process left it (without log.txt and .lock). Where the best
                    checkpoint was a hard link to the newest one, it is left out: `take_run` links it again
    validate/       what `volovan validate` wrote about it
    predict/        what `volovan predict` wrote, once with --format csv and once with jsonl
    pictures.json   SHA-256 of the pixels of pictures that were written besides masks and cut-outs
    end/            tables of the run when it was gone on with to its end; about.json: what its newest checkpoint says
                    and which samples the steps took; tensors.npz: all tensors of it, in order of their names
"""

import hashlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch.utils.data import DataLoader, Dataset

KEPT = Path(__file__).with_name("kept")
PLACE = "/tmp/volovan-compat"
"""where the pictures lay that the recipes name"""
STOPS = {  # case -> (steps done when it was stopped, by what)
    "classify_volo": (588, "SIGTERM"),
    "classify_lvvit": (589, "kill"),
    "several_van": (143, "kill"),
    "regression_volo": (142, "kill"),
    "segment_van_fpn": (114, "kill"),
    "segment_lvvit_ham": (113, "SIGTERM"),
    "saliency_van": (74, "kill"),
}
WORDS = {"classify": ["--top", "3"], "several": ["--threshold", "0.3"]}
"""further words of `volovan predict`, by the first part of a case's name"""
NEW = (
    ("a b.png", "RGB", (50, 66)),
    ("deep/a b.png", "RGB", (64, 37)),
    ("grey.png", "L", (40, 40)),
    ("clear.png", "RGBA", (45, 70)),
    ("torn.png", "RGB", (40, 40)),
)
"""pictures to predict: name, mode, (height, width)"""
AS_FILES = ("masks", "cutouts")
"""folders whose pictures are kept as they are"""


# ---- data, of integers only: the same everywhere --------------------------------------------------------------------


def draw(number: int, height: int, width: int) -> tuple[np.ndarray, int, int]:
    """(H, W, 3) uint8, a disc on a pale ramp; the column of its middle, and its radius."""
    rows, columns = np.mgrid[:height, :width]
    middle, radius = width // 4 + number * 7 % (width // 2), 4 + number * 5 % (height // 3)
    inside = (rows - height // 2) ** 2 + (columns - middle) ** 2 < radius**2
    ramp = 150 + (rows * (number % 3) + columns * (2 - number % 3)) // 3
    ground = ramp[..., None] + np.array([8, 0, 4 * (number % 4)])
    disc = np.array([250 - 60 * (number % 3), 90 + 50 * (number % 2), 30 + 45 * (number % 5)])
    return np.where(inside[..., None], disc, ground).astype(np.uint8), middle, radius


def draw_digit(number: int) -> np.ndarray:
    """(H, W) uint8, a digit as seven bars show it, white on black."""
    canvas = np.zeros((32, 28), np.uint8)
    bars = {"a": (3, 7, 8, 20), "b": (5, 17, 17, 21), "c": (15, 27, 17, 21), "d": (25, 29, 8, 20)}
    bars |= {"e": (15, 27, 7, 11), "f": (5, 17, 7, 11), "g": (14, 18, 8, 20)}
    for bar in ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")[number]:
        top, bottom, left, right = bars[bar]
        canvas[top:bottom, left:right] = 255
    return canvas


def write_pictures(folder: Path) -> Path:
    """labels.csv and numbers.csv with their pictures, and two folders to predict: new/, where one is torn, and digits/.

    Returns the folder.
    """
    (folder / "new" / "deep").mkdir(parents=True)
    (folder / "digits").mkdir()
    labels, numbers = ["split,file,labels"], ["split,file,value:column,value:radius"]
    for split, count in (("train", 40), ("val", 12)):
        (folder / split).mkdir()
        for number in range(count):
            pixels, middle, radius = draw(number, 32 + number % 5, 40 + number % 7)
            Image.fromarray(pixels).save(folder / split / f"{number:02d}.png")
            applies = {"large": radius > 8, "bright": number % 3 == 0, "left": middle < 20}
            names = "|".join(name for name, does in applies.items() if does)
            labels.append(f"{split},{split}/{number:02d}.png,{names}")
            numbers.append(f"{split},{split}/{number:02d}.png,{middle},{radius}")
    for name, lines in (("labels.csv", labels), ("numbers.csv", numbers)):
        (folder / name).write_text("\n".join(lines) + "\n")
    for number, (name, mode, size) in enumerate(NEW):
        Image.fromarray(draw(number, *size)[0]).convert(mode).save(folder / "new" / name)
    for number in range(10):
        Image.fromarray(draw_digit(number)).save(folder / "digits" / f"{number}.png")
    torn = folder / "new" / "torn.png"
    torn.write_bytes(torn.read_bytes()[:90])
    return folder


# ---- what is looked at ----------------------------------------------------------------------------------------------


def machine() -> dict[str, str]:
    """What decides about the last bits of a sum, and about drawn letters."""
    from importlib.metadata import version

    try:
        about = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
        keys = ("vendor_id", "cpu family", "model", "model name", "stepping", "cache size", "flags")
        processor = "\n".join(line for line in about.splitlines() if line.partition(":")[0].strip() in keys)
    except OSError:
        processor = platform.processor()
    return {
        **{name: version(name) for name in ("torch", "torchvision", "numpy", "pillow", "matplotlib")},
        "capability": torch.backends.cpu.get_cpu_capability(),
        "ONEDNN_MAX_CPU_ISA": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        "processor": hashlib.sha256(processor.encode()).hexdigest()[:16],
    }


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint, in order of their names."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in sorted(file.keys())}


def read_about(path: Path) -> dict[str, Any]:
    """What a checkpoint says besides its tensors."""
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["volovan"])["tree"]


def read_network(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint that validation looks at: the averaged ones where there are some."""
    tensors = read_tensors(path)
    prefix = "ema." if any(name.startswith("ema.") for name in tensors) else "model."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    hasher = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return hasher.hexdigest()


def newest(run: Path) -> Path:
    """The newest checkpoint of a run."""
    return max((run / "checkpoints").glob("step-*.safetensors"))


def pixels_of(path: Path) -> str:
    """SHA-256 of size, mode and pixels of a picture."""
    with Image.open(path) as picture:
        return hashlib.sha256(f"{picture.size} {picture.mode}".encode() + picture.tobytes()).hexdigest()


class _Watched(Dataset[Any]):
    """A data set that notes which samples it is asked for while gradients are on, so not those of a validation."""

    def __init__(self, whole: Dataset[Any], seen: list[list[int | None]]) -> None:
        self.whole, self.seen = whole, seen

    def __len__(self) -> int:
        return len(self.whole)  # type: ignore[arg-type]

    def __getitem__(self, key: Any) -> Any:
        if torch.is_grad_enabled():
            self.seen.append(list(key))
        return self.whole[key]


@contextmanager
def watch_samples() -> Iterator[list[list[int | None]]]:
    """[epoch, sample, repeat, size] of every sample that training asks its DataLoader for meanwhile, in order."""
    seen: list[list[int | None]] = []
    make = DataLoader.__init__

    def watched(self: Any, dataset: Any, *args: Any, **settings: Any) -> None:
        make(self, _Watched(dataset, seen), *args, **settings)

    with patch.object(DataLoader, "__init__", watched):
        yield seen


def take_run(case: str, folder: Path, pictures: Path) -> Path:
    """A copy of a kept run, with recipe.yaml naming the pictures where they are and best.safetensors in its place."""
    run = folder / case
    shutil.copytree(KEPT / case / "run", run)
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(PLACE, str(pictures)))
    best = run / "checkpoints" / "best.safetensors"
    if not best.exists() and read_about(newest(run))["state"]["best_step"] is not None:
        os.link(newest(run), best)
    return run


def validate_words(run: Path, out: Path) -> list[str]:
    return ["validate", str(run), "--out", str(out), "--workers", "0", "--device", "cpu"]


def predict_words(case: str, run: Path, pictures: Path, out: Path, form: str) -> list[str]:
    sources = [str(pictures / "new"), *([str(pictures / "digits")] if case.startswith("classify") else [])]
    words = ["--out", str(out), "--format", form, "--workers", "0", "--device", "cpu"]
    return ["predict", str(run), *sources, *words, *WORDS.get(case.partition("_")[0], [])]


# ---- making, with the old code only ---------------------------------------------------------------------------------


def fit_until(words: list[str], step: int, how: str) -> None:
    """Fit, and be stopped when so many steps are done: by a signal, or at once, as by a kill."""
    from volovan.cli import main
    from volovan.engine.loop import Trainer

    train_step: Callable[..., None] = Trainer.train_step

    def stopped(self: Any, *args: Any) -> None:
        if how == "kill" and self.state.step == step:
            raise KeyboardInterrupt
        if how == "SIGTERM" and self.state.step == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        train_step(self, *args)

    with patch.object(Trainer, "train_step", stopped):
        try:
            status = main(words)
        except SystemExit as stop:
            status = int(stop.code or 0)
    expect(status, 143 if how == "SIGTERM" else 130)


def expect(found: Any, wanted: Any) -> None:
    if found != wanted:
        raise SystemExit(f"expected {wanted}, found {found}")


def make(case: str, folder: Path, pictures: Path) -> None:
    """All that is kept of a case but its recipe."""
    from volovan.cli import main

    kept, recipe = KEPT / case, str(KEPT / case / "fit.yaml")
    for old in kept.iterdir():
        if old.name != "fit.yaml":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    expect(main(["fit", recipe, "--out", str(folder / "whole")]), 0)
    run = folder / case
    fit_until(["fit", recipe, "--out", str(run)], *STOPS[case])
    keep_run(run, kept / "run")
    expect(main(validate_words(run, kept / "validate")), 0)
    expect(main(predict_words(case, run, pictures, folder / "jsonl", "jsonl")), 1)
    expect(main(predict_words(case, run, pictures, kept / "predict", "csv")), 1)
    (table,) = (folder / "jsonl").glob("*.jsonl")
    shutil.copy(table, kept / "predict")
    keep_results(kept)
    with watch_samples() as samples:
        expect(main(["fit", "--resume", str(run)]), 0)
    tensors = read_tensors(newest(run))
    expect(digest(tensors), digest(read_tensors(newest(folder / "whole"))))
    (kept / "end").mkdir()
    for table in run.glob("*.csv"):
        shutil.copy(table, kept / "end")
    vector = torch.cat([tensor.flatten().float() for tensor in tensors.values()]).numpy()
    np.savez_compressed(kept / "end" / "tensors.npz", vector)
    about = read_about(newest(run))
    about = {key: about[key] for key in ("state", "data", "task")}
    about["state"].pop("seconds")
    best = run / "checkpoints" / "best.safetensors"
    about |= {
        "checkpoints": sorted(path.name for path in best.parent.iterdir()),
        "digest": digest(tensors),
        "digest of the best network": digest(read_network(best)),
        "samples": samples,
    }
    (kept / "end" / "about.json").write_text(json.dumps(about) + "\n")


def keep_run(run: Path, kept: Path) -> None:
    """A copy of a run without what says where it was, and without a second copy of the newest checkpoint."""
    shutil.copytree(run, kept, ignore=shutil.ignore_patterns("log.txt", ".lock"))
    path = kept / "environment.json"
    environment = json.loads(path.read_text())
    environment |= {"command": ["volovan", "fit"], "system": platform.system()}
    path.write_text(json.dumps(environment, indent=2) + "\n")
    best = run / "checkpoints" / "best.safetensors"
    if best.exists() and best.samefile(newest(run)):
        (kept / "checkpoints" / best.name).unlink()


def keep_results(kept: Path) -> None:
    """Of most pictures keep what their pixels are; of metrics.json leave out the path of the run."""
    found = {}
    for path in sorted([*kept.glob("predict/**/*.*"), *kept.glob("validate/**/*.*")]):
        if path.suffix in (".png", ".jpg") and path.parent.name not in AS_FILES:
            found[path.relative_to(kept).as_posix()] = pixels_of(path)
            path.unlink()
    (kept / "pictures.json").write_text(json.dumps(found, indent=1) + "\n")
    path = kept / "validate" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics.pop("model")
    path.write_text(json.dumps(metrics, indent=1) + "\n")


def main() -> None:
    torch.set_num_threads(1)
    pictures = Path(PLACE)
    shutil.rmtree(pictures, ignore_errors=True)
    write_pictures(pictures)
    for case in sys.argv[1:] or STOPS:
        with tempfile.TemporaryDirectory() as folder:
            make(case, Path(folder), pictures)
    (KEPT / "machine.json").write_text(json.dumps(machine(), indent=1) + "\n")
    shutil.rmtree(pictures)


if __name__ == "__main__":
    main()
