"""Exported networks beside torch: onnxruntime and OpenVINO against our own network, fused and eager, in one run.

    python benchmarks/bench_export.py --networks van_b2 volo_d1 --batch 1 8

`col2im` is VOLO with outlook attention as the paper writes it, by unfold and fold, in onnxruntime: what an exporter
makes of other implementations. Random weights; ratios are medians over rounds in turn.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from common import RESULTS, Row, print_table, write_table
from torch import Tensor, nn

import volovan
from volovan.bench.contestants import find_contestant
from volovan.bench.timing import PAUSE, Ratio, interleave
from volovan.engine.allocator import keep_memory
from volovan.exports.about import About
from volovan.exports.formats import FORMATS
from volovan.exports.quiet import quiet
from volovan.exports.to_onnx import open_file
from volovan.models.fuse import fuse
from volovan.room.cut import CutOff, Run, whole
from volovan.room.network import describe

CUT = whole("logits")


def said_of(name: str, model: nn.Module) -> About:
    return About(name, describe("classify", model, [str(number) for number in range(1000)], {}), CUT.outputs)


def exported(name: str, model: nn.Module, to: str, folder: Path) -> tuple[Run, float]:
    """What runs it, and its MiB."""
    form = FORMATS[to]
    about = said_of(name, model)
    path = folder / f"{name}{form.suffix}"
    form.write(CutOff(fuse(model), CUT), path, about)
    return form.open_file(path)[1], sum(file.stat().st_size for file in folder.glob(f"{name}.*")) / 2**20


def with_col2im(name: str, folder: Path) -> Run:
    """VOLO by unfold and fold, in onnxruntime."""
    import onnx

    plain = find_contestant(f"plain:{name}", None).make().eval()
    with quiet():
        made = torch.onnx.export(
            plain, (torch.randn(2, 3, 224, 224),), dynamo=True, opset_version=20, input_names=["images"],
            output_names=["logits"], dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        )  # fmt: skip
    model = made.model_proto
    operations = {node.op_type for node in model.graph.node}
    assert "Col2Im" in operations, "this is no graph with Col2Im"
    entry = model.metadata_props.add()
    entry.key = "volovan"
    entry.value = said_of(name, find_contestant(name, None).make()).text()
    path = folder / f"{name}-col2im.onnx"
    onnx.save(model, path)
    return open_file(path)[1]


def once(run: Callable[[Tensor], object], images: Tensor) -> int:
    run(images)
    return len(images)


def refuse_others(runs: dict[str, Callable[[Tensor], object]], images: Tensor, expected: Tensor) -> None:
    """Nothing is timed that computes something else; the formulation by unfold has weights of its own."""
    for label, run in runs.items():
        found = run(images)
        logits = found[0] if isinstance(found, list | tuple) else found
        if label != "col2im":
            torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def measure(name: str, args: argparse.Namespace) -> list[Row]:
    torch.manual_seed(0)
    model = volovan.create_model(name).eval()
    fused = fuse(model)
    runs: dict[str, Callable[[Tensor], object]] = {"torch, fused": fused, "torch": model}
    sizes: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for to in args.to:
            place = Path(folder) / to
            place.mkdir()
            with torch.inference_mode(False), torch.no_grad():
                runs[to], sizes[to] = exported(name, model, to, place)
        if name.startswith("volo") and "onnx" in args.to:
            with torch.inference_mode(False), torch.no_grad():
                runs["col2im"] = with_col2im(name, Path(folder))
        rows: list[Row] = []
        for batch in args.batch:
            images = torch.randn(batch, 3, args.size, args.size)
            refuse_others(runs, images, model(images))
            rates = interleave({label: partial(once, run, images) for label, run in runs.items()}, args.rounds, PAUSE)
            for label, found in rates.items():
                ratio = Ratio.of(found, rates["torch, fused"])
                rows.append(
                    {
                        "network": name,
                        "by": label,
                        "batch": batch,
                        "ms_a_picture": round(1e3 / sorted(found)[len(found) // 2], 2),
                        "of_fused": round(ratio.median, 3),
                        "from": round(ratio.low, 3),
                        "to": round(ratio.high, 3),
                        "mib": round(sizes.get(label, 0.0), 1),
                    }
                )
    return rows


def main(argv: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["van_b2", "volo_d1"])
    parser.add_argument("--to", nargs="+", default=["onnx", "openvino"], choices=tuple(FORMATS))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    keep_memory()  # as the command line does, whichever of them runs a network
    rows = [row for name in args.networks for row in measure(name, args)]
    print_table(rows)
    path = write_table("export", rows, torch.device("cpu"), args.out)
    print(f"wrote {path}")
    return path


if __name__ == "__main__":
    main()
