"""What token labeling costs: targets from label maps, the training step, and the loader that reads the maps.

    python benchmarks/bench_labels.py [--model volo_d1 --model-batch 8] [--device cuda --precision bf16]

Three parts; the cases of a part take turns within each round (see common.interleave).

targets   token_targets for a batch (18 x 18 maps of 5 of 1,000 classes -> 14 x 14 tokens), beside the published way:
          maps of all classes, torchvision's RoIAlign, softmax
step      forward, loss and backward of a model on a batch that is already there, no optimiser:
          cross entropy   plain labels, no MixToken box, one loss on the logits
          mixtoken        plain labels as targets of the class token and of every patch, with a box
          token labels    targets made from label maps, losses on them, with a box
loader    pictures of ImageNet's size through TrainLoader with both papers' augmentation, alone and with maps in either
          layout. With maps RandAugment works on the whole picture before the crop, so that the map can follow; without
          them on the crop

of_... columns divide by the rate of that case within the round: 0.95 means 5 % more time. cpu_of_... do the same with
processor time in place of wall time, which other work on the machine hardly changes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import RESULTS, Row, make_photographs, print_table, rate_columns, write_table
from torch import Tensor
from torchvision.ops import roi_align

import volovan
from volovan.bench.timing import interleave, median_ratio
from volovan.classify.data import ClassSamples
from volovan.classify.losses import classification_loss
from volovan.classify.recipe import AugmentSettings, Recipe
from volovan.classify.token_labels import LabelMaps, TokenLoss
from volovan.classify.transforms import EvalTransform, TrainTransform
from volovan.data import open_source
from volovan.data.loader import TrainLoader
from volovan.engine.distributed import choose_device
from volovan.engine.evaluate import to_device
from volovan.engine.task import Loss, parts_of
from volovan.labels.convert import convert
from volovan.labels.keys import label_key
from volovan.labels.published import serialise
from volovan.labels.targets import token_targets
from volovan.room.settings import TrunkSettings

SIZE = (224, 224)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES, CELLS, TOP, TOKENS = 1000, 18, 5, 14
Case = Callable[[], int]


def label_maps(count: int, occurring: int) -> Tensor:
    """(B, 2, 5, 18, 18) random maps; each picture's best classes are among `occurring` of the 1,000."""
    pool = torch.rand(count, CLASSES).argsort(dim=1)[:, :occurring]
    chosen = torch.rand(count, CELLS * CELLS, occurring).argsort(dim=2)[..., :TOP]
    numbers = pool[:, None].expand(-1, CELLS * CELLS, -1).gather(2, chosen)
    logits = torch.randn(count, CELLS * CELLS, TOP).mul(3).add(8).sort(dim=2, descending=True).values
    return torch.stack([logits, numbers.float()], dim=1).transpose(2, 3).unflatten(3, (CELLS, CELLS)).contiguous()


def crop_boxes(count: int) -> Tensor:
    """(B, 4) top, left, height, width within the picture, of 8 to 100 % of its area."""
    sides = torch.empty(count, 2).uniform_(0.28, 1.0)
    return torch.cat([torch.rand(count, 2) * (1 - sides), sides], dim=1)


def published_targets(maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Class and patch targets as the published code makes them, in the right order."""
    dense = maps.new_zeros(len(maps), CLASSES, CELLS, CELLS).scatter_(1, maps[:, 1].long(), maps[:, 0])
    top, left, height, width = boxes.unbind(1)
    rois = torch.stack([left, top, left + width, top + height], dim=1) * CELLS - 0.5
    cuts = [roi_align(dense, [*rois[:, None]], output_size=side, aligned=False) for side in (1, TOKENS)]
    off = 0.1 / CLASSES
    cls, patch = (cut.flatten(2).transpose(1, 2).softmax(dim=2) * (0.9 + off) + off for cut in cuts)
    return cls[:, 0], patch


def measure_targets(args: argparse.Namespace, device: torch.device) -> list[Row]:
    cases: dict[str, Case] = {}
    about: dict[str, Row] = {}
    for batch in args.target_batch:
        maps, boxes = label_maps(batch, args.occurring).to(device), crop_boxes(batch).to(device)
        labels = torch.zeros(batch, dtype=torch.int64, device=device)

        def ours(maps: Tensor = maps, boxes: Tensor = boxes, labels: Tensor = labels) -> tuple[Tensor, Tensor | None]:
            return token_targets(maps, boxes, labels, CLASSES, TOKENS)[1:]

        def published(maps: Tensor = maps, boxes: Tensor = boxes) -> tuple[Tensor, Tensor]:
            return published_targets(maps, boxes)

        for got, want in zip(ours(), published(), strict=True):
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
        for side, make in (("ours", ours), ("torchvision", published)):
            cases[f"{side} {batch}"] = timed(make, batch, args.steps, device)
            about[f"{side} {batch}"] = {"part": "targets", "what": "class and patch targets", "side": side}
            about[f"{side} {batch}"] |= {"batch": batch, "dtype": "fp32"}
    rates = interleave(cases, args.rounds)
    for key, row in about.items():
        row |= rate_columns(rates[key])
        row["ms_per_batch"] = round(1e3 * int(row["batch"]) / float(row["images_per_s"]), 2)
        if row["side"] == "ours":
            row["of_torchvision"] = round(median_ratio(rates[key], rates[f"torchvision {row['batch']}"]), 2)
    return list(about.values())


def timed(run: Callable[[], object], images: int, repeats: int, device: torch.device) -> Case:
    """A case that runs `repeats` times."""

    def case() -> int:
        for _ in range(repeats):
            run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return repeats * images

    return case


def measure_steps(args: argparse.Namespace, device: torch.device) -> list[Row]:
    size = (args.size, args.size)
    model = volovan.create_model(args.model, num_classes=CLASSES, img_size=size).to(device).train()
    recipe = Recipe(model=TrunkSettings(args.model), augment=AugmentSettings(mixtoken=1.0))
    token_loss = TokenLoss(recipe, model, CLASSES)
    batch = args.model_batch
    plain = {"image": torch.randn(batch, 3, *size), "label": torch.randint(CLASSES, (batch,))}
    mapped = plain | {"map": label_maps(batch, args.occurring), "box": crop_boxes(batch)}
    mapped["map_size"] = torch.full((batch, 2), CELLS)
    plain, mapped = ({key: value.to(device) for key, value in data.items()} for data in (plain, mapped))
    losses: dict[str, Callable[[], Loss]] = {
        "cross entropy": lambda: classification_loss(model(plain["image"]), plain["label"], smoothing=0.1),
        "mixtoken": lambda: token_loss(model, plain),
        "token labels": lambda: token_loss(model, mapped),
    }

    def step(loss: Callable[[], Loss]) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
            value, _ = parts_of(loss())
        value.backward()
        model.zero_grad(set_to_none=True)

    cases = {n: timed(lambda loss=loss: step(loss), batch, args.steps, device) for n, loss in losses.items()}  # type: ignore[misc]
    busy: dict[str, list[float]] = {name: [] for name in cases}
    rates = interleave({name: with_cpu_time(case, busy[name]) for name, case in cases.items()}, args.rounds)
    rows: list[Row] = []
    for name in cases:
        rows.append({"part": "step", "what": f"{args.model} {args.size}, {name}", "batch": batch})
        rows[-1] |= {"dtype": args.precision, **rate_columns(rates[name])}
        if name == "token labels":
            rows[-1]["of_mixtoken"] = round(median_ratio(rates[name], rates["mixtoken"]), 3)
            rows[-1]["of_cross_entropy"] = round(median_ratio(rates[name], rates["cross entropy"]), 3)
            if device.type == "cpu":
                rows[-1]["cpu_of_mixtoken"] = round(median_ratio(busy["mixtoken"], busy[name]), 3)
                rows[-1]["cpu_of_cross_entropy"] = round(median_ratio(busy["cross entropy"], busy[name]), 3)
    return rows


def with_cpu_time(case: Case, seconds: list[float]) -> Case:
    """The same case; the processor time that it takes is added to `seconds`."""

    def measured() -> int:
        begin = time.process_time()
        images = case()
        seconds.append(time.process_time() - begin)
        return images

    return measured


def measure_loader(args: argparse.Namespace, folder: Path) -> list[Row]:
    make_photographs(folder / "pictures", args.count)
    source = open_source(folder / "pictures")
    maps = label_maps(len(source), args.occurring).half()
    for index in range(len(source)):
        path = folder / "published" / f"{label_key(source.name(index))}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(serialise(maps[index]))
    convert(folder / "published", folder / "compact")
    transform = TrainTransform(SIZE, MEAN, STD, AugmentSettings(), EvalTransform(SIZE, MEAN, STD))
    cases: dict[str, Case] = {}
    about: dict[str, Row] = {}
    for workers in args.workers:
        for layout in ("none", "published", "compact"):
            kept = None if layout == "none" else LabelMaps(str(folder / layout), "centre", source.classes)
            samples = ClassSamples(source, transform, source.classes, kept)
            cases[f"{layout} {workers}"] = epochs(TrainLoader(samples, micro=args.batch_size, workers=workers))
            about[f"{layout} {workers}"] = {"part": "loader", "what": f"maps: {layout}", "workers": workers}
            about[f"{layout} {workers}"]["batch"] = args.batch_size
    rates = interleave(cases, args.rounds)
    for key, row in about.items():
        row |= rate_columns(rates[key])
        if not key.startswith("none"):
            row["of_plain"] = round(median_ratio(rates[key], rates[f"none {row['workers']}"]), 3)
    return list(about.values())


def epochs(loader: TrainLoader) -> Case:
    """A case that goes through the next epoch of a loader."""
    numbers = iter(range(1_000_000))
    cpu = torch.device("cpu")
    return lambda: sum(len(to_device(part.data, cpu)["image"]) for step in loader.epoch(next(numbers)) for part in step)


def main(argv: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--occurring", type=int, default=150, help="classes that occur in the maps of a picture")
    parser.add_argument("--target-batch", type=int, nargs="*", default=[32, 128])
    parser.add_argument("--model", default="volo_d1")
    parser.add_argument("--model-batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=SIZE[0], help="of the model's pictures")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the model")
    parser.add_argument("--steps", type=int, default=2, help="repeats within a round")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--batch-size", type=int, default=32, help="of the loader")
    parser.add_argument("--count", type=int, default=256, help="pictures to make")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    args = parser.parse_args(argv)
    device = choose_device(args.device)
    torch.manual_seed(0)
    rows = measure_targets(args, device) + measure_steps(args, device)
    with tempfile.TemporaryDirectory() as made:
        rows += measure_loader(args, Path(made))
    print_table(rows)
    path = write_table("labels", rows, device, args.out)
    print(f"wrote {path}")
    return path


if __name__ == "__main__":
    main()
