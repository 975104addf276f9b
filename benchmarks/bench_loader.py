"""Images per second of the training and validation loaders beside timm's, and beside what models consume.

Every row of one run is measured in turn with all others (see common.interleave), from the same JPEG files of
ImageNet's size. Ours is TrainLoader and evaluation_loader over ClassSamples; theirs is timm's create_loader with the
same augmentation and its prefetcher, as its scripts use it, which normalises and erases in the main process.

full       random crop, flip, RandAugment m9-mstd0.5-inc1, random erasing 0.25: both papers on ImageNet
light      random crop and flip
eval       resize, centre crop (0.96); the loader is made anew for each pass, as a validation does
camera     the same as light, of photographs of 4,000 x 3,000 pixels: timm's loader, ours, ours of a pack of them
           (`volovan pack`, shorter side 512), and ours where all of each picture is decoded
train step of a model   forward, cross-entropy, backward: no optimiser step, so that it is the upper limit

A loader with as many workers as there are cores competes with the model for them when the model computes on the CPU;
the column of_model divides the loader's rate by the model's and says how many times over the loader could feed it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from common import RESULTS, Row, make_photographs, print_table, rate_columns, write_table
from timm.data import create_dataset, create_loader
from torch import Tensor
from torchvision.transforms import Compose

import volovan
from volovan.bench.timing import interleave, median_ratio
from volovan.classify.data import ClassSamples
from volovan.classify.recipe import AugmentSettings
from volovan.classify.transforms import EvalTransform, TrainTransform, posterize
from volovan.data import open_source
from volovan.data.loader import Batch, TrainLoader, evaluation_loader
from volovan.engine.allocator import keep_memory
from volovan.engine.distributed import choose_device
from volovan.engine.evaluate import to_device
from volovan.use.pack import pack

SIZE = (224, 224)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CROP = 0.96
CAMERA = (4000, 3000)
LIGHT = AugmentSettings(randaugment=None, color_jitter=0.0, erase=0.0)
AUGMENT = {"full": AugmentSettings(), "light": LIGHT, "whole": replace(LIGHT, reduced=False)}
Case = Callable[[], int]


def ours(data: Path, kind: str, batch: int, workers: int, split: str | None = None) -> Case:
    """One epoch through our loader."""
    source = open_source(data, split)
    evaluate = EvalTransform(SIZE, MEAN, STD, CROP)
    if kind == "eval":
        samples = ClassSamples(source, evaluate, source.classes)
        return lambda: sum(map(pictures, evaluation_loader(samples, batch_size=batch, workers=workers)))
    samples = ClassSamples(source, TrainTransform(SIZE, MEAN, STD, AUGMENT[kind], evaluate), source.classes)
    loader = TrainLoader(samples, micro=batch, workers=workers)
    epochs = iter(range(1_000_000))
    return lambda: sum(pictures(part) for step in loader.epoch(next(epochs)) for part in step)


def pictures(batch: Batch) -> int:
    """How many there are, once they are what a network takes: timm's loader gives them normalised too."""
    images: Tensor = to_device(batch.data, torch.device("cpu"))["image"]
    return len(images)


def theirs(data: Path, kind: str, batch: int, workers: int) -> Case:
    """One epoch through timm's loader with the same augmentation."""

    def make() -> Iterable[tuple[Tensor, Tensor]]:
        dataset = create_dataset("", root=str(data), split="train")
        augment = AUGMENT.get(kind, AUGMENT["light"])
        loader = create_loader(
            dataset,
            input_size=(3, *SIZE),
            batch_size=batch,
            is_training=kind != "eval",
            re_prob=augment.erase,
            re_mode=augment.erase_mode,
            color_jitter=augment.color_jitter,
            auto_augment=augment.randaugment,
            interpolation="bicubic" if kind == "eval" else augment.interpolation,
            mean=MEAN,
            std=STD,
            crop_pct=CROP,
            num_workers=workers,
            device=torch.device("cpu"),
        )
        mend(dataset.transform)
        return loader

    if kind == "eval":
        return lambda: sum(len(images) for images, _ in make())
    loader = make()
    return lambda: sum(len(images) for images, _ in loader)


def mend(transform: Compose) -> None:
    """timm's RandAugment now and then posterizes to no bits at all, which Pillow 13 refuses; ours is mended already."""
    for step in transform.transforms:
        for op in getattr(step, "ops", ()):
            if op.name.startswith("Posterize"):
                op.aug_fn = posterize


def train_step(name: str, batch: int, steps: int, device: torch.device, precision: str) -> Case:
    """Forward, loss and backward of a model on pictures that are already there."""
    model = volovan.create_model(name).to(device).train()
    images, labels = torch.randn(batch, 3, *SIZE, device=device), torch.arange(batch, device=device)
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")

    def run() -> int:
        for _ in range(steps):
            with mixed:
                loss = F.cross_entropy(model(images), labels)
            loss.backward()
            model.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return steps * batch

    return run


def measure_camera(args: argparse.Namespace, folder: Path) -> list[Row]:
    """Photographs of a camera, as class folders and packed."""
    pack(folder / "pictures", folder / "pack", workers=0)
    rows: list[Row] = []
    for workers in args.workers:
        batch = min(8, args.camera)
        cases = {
            "timm": theirs(folder / "pictures", "light", batch, workers),
            "ours": ours(folder / "pictures", "light", batch, workers),
            "ours, all of a picture": ours(folder / "pictures", "whole", batch, workers),
            "ours, packed": ours(folder / "pack", "light", batch, workers, "train"),
        }
        rates = interleave(cases, args.rounds)
        for side in cases:
            row: Row = {"what": "loader, camera", "side": side, "batch": batch, "dtype": "fp32", "workers": workers}
            row.update(rate_columns(rates[side]))
            row["of_timm"] = round(median_ratio(rates[side], rates["timm"]), 3)
            rows.append(row)
    return rows


def measure(args: argparse.Namespace, data: Path, device: torch.device) -> list[Row]:
    """All cases, one row each."""
    cases: dict[str, Case] = {}
    about: dict[str, Row] = {}
    for name in args.models:
        key = f"model {name}"
        cases[key] = train_step(name, args.model_batch, args.steps, device, args.precision)
        about[key] = {"what": f"train step of {name}", "side": "ours", "batch": args.model_batch}
        about[key]["dtype"] = args.precision
    for kind in ("full", "light", "eval"):
        for workers in args.workers:
            for side, build in (("ours", ours), ("timm", theirs)):
                key = f"{side} {kind} {workers}"
                cases[key] = build(data, kind, args.batch_size, workers)
                about[key] = {"what": f"loader, {kind}", "side": side, "batch": args.batch_size, "dtype": "fp32"}
                about[key]["workers"] = workers
    rates = interleave(cases, args.rounds)
    for key, row in about.items():
        row.update(rate_columns(rates[key]))
        if key.startswith("ours"):
            row["of_timm"] = round(median_ratio(rates[key], rates[key.replace("ours", "timm")]), 3)
            for name in args.models if "eval" not in key else ():
                row[f"of_{name}"] = round(median_ratio(rates[key], rates[f"model {name}"]), 1)
    return list(about.values())


def main(argv: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="class folders of your own; default: pictures made for the purpose")
    parser.add_argument("--count", type=int, default=256, help="pictures to make")
    parser.add_argument("--camera", type=int, default=24, help="photographs of a camera to make; 0: leave them out")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--models", nargs="*", default=["van_b0", "volo_d1"])
    parser.add_argument("--model-batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2, help="training steps of a model in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the models")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    args = parser.parse_args(argv)
    device = choose_device(args.device)
    keep_memory()  # as the command line does; both sides gain by it
    with tempfile.TemporaryDirectory() as made:
        if args.data is None:
            make_photographs(Path(made) / "small", args.count)
        rows = measure(args, args.data or Path(made) / "small", device)
        if args.camera:
            make_photographs(Path(made) / "camera" / "pictures", args.camera, (CAMERA,))
            rows += measure_camera(args, Path(made) / "camera")
    print_table(rows)
    path = write_table("loader", rows, device, args.out)
    print(f"wrote {path}")
    return path


if __name__ == "__main__":
    main()
