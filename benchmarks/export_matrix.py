"""Every network in every format: written at full size, opened, compared with torch; one row each.

    python benchmarks/export_matrix.py                                      # the small ones; the large take an hour
    python benchmarks/export_matrix.py --networks van_b6 volo_d5 --to onnx
    python benchmarks/export_matrix.py --networks coco_mask_rcnn_van_b0 my_recipe.yaml runs/pose --to onnx openvino

By `volovan.export`, from weights drawn at random, with statistics of BatchNorm and biases of heads as if they had been
trained; at two sizes, one of them odd, and with 1 and 3 pictures. Recipes have the classes of the drawn scenes, for
which no data are needed; runs (of poses, whose points a recipe does not name) the weights that they have. A row that
failed says why.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import torch
import yaml
from common import RESULTS, Row, print_table, write_table
from safetensors.torch import save_file
from torch import nn

import volovan
from volovan.bench.contestants import find_contestant
from volovan.exports.exporting import Exported
from volovan.exports.formats import FORMATS
from volovan.use.recipes import find_recipe

SMALL = (
    *("van_b0", "van_b1", "van_b2", "volo_d1", "lvvit_t", "lvvit_s"),
    *("ade20k_fpn_van_b0", "ade20k_upernet_van_b0", "duts_edn_van_b1"),
    *("coco_retinanet_van_b0", "coco_mask_rcnn_van_b0", "coco_mask2former_van_b2"),
)
TO = ("onnx", "torch-export", "openvino")
SPREAD = 2.0
"""standard deviation of logits, at most"""


def as_if_trained(model: nn.Module) -> nn.Module:
    """Heads of new networks find nothing: their first answers are all but equal."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    for name, parameter in model.named_parameters():
        if name.endswith(("class_out.bias", "class_predictor.bias")):
            nn.init.normal_(parameter, 0.0, 0.5)
        elif name.endswith(("class_out.weight", "final_layer.weight")):
            nn.init.normal_(parameter, 0.0, 0.3)
        elif "stages" in name and name.endswith("box_out.weight"):  # boxes that move by little
            nn.init.normal_(parameter, 0.0, 0.01)
    for part in [part for name, part in model.named_modules() if name.endswith("class_out")]:
        part.register_forward_hook(keep_apart)
    with torch.no_grad():
        model.eval()(torch.randn(1, 3, 224, 224))
    for part in model.modules():
        part._forward_hooks.clear()
    return model


def keep_apart(part: nn.Module, _: object, logits: torch.Tensor) -> torch.Tensor:
    """Weights so small that probabilities of the logits are not all 0 or 1, of which thousands are equal."""
    share = min(1.0, float(SPREAD / logits.std()))
    part.weight.data *= share
    return logits * share


def tried(word: str, to: str, folder: Path) -> Row:
    """What came of one network in one format."""
    torch.manual_seed(0)
    row: Row = {"network": Path(word).stem, "to": to}
    weights = None
    if not Path(word).is_dir():
        word = word if word in volovan.list_models() else on_shapes(word, folder)
        weights = folder / "weights.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in model_of(word).state_dict().items()}, weights)
    begin = time.perf_counter()
    try:
        made = volovan.export(word, to, folder / f"file{FORMATS[to].suffix}", weights=weights, compare="shapes")
    except ValueError as error:
        return row | {"failed": str(error)}
    assert isinstance(made, Exported)
    row |= {
        "tried": " ".join(f"{count}x{height}x{width}" for count, height, width in made.check.tried),
        "error": "" if made.check.error is None else f"{made.check.error:.1e}",
        "agree": round(made.check.agree, 4),
        "MiB": round(made.bytes / 2**20, 1),
        "seconds": round(time.perf_counter() - begin),
        "GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1),
    }
    for path in made.files:
        path.unlink()
    return row


def on_shapes(word: str, folder: Path) -> str:
    """A recipe with drawn scenes as its data."""
    tree = yaml.safe_load(find_recipe(word).read_text(encoding="utf-8"))
    tree["data"] |= {"source": "shapes"}
    path = folder / Path(word).with_suffix(".yaml").name
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return str(path)


def model_of(word: str) -> nn.Module:
    return as_if_trained(find_contestant(word, None).make())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=SMALL, help="variants, recipes, files of recipes, runs")
    parser.add_argument("--to", nargs="+", default=TO, choices=FORMATS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for word in args.networks:
            for to in args.to:
                rows.append(tried(word, to, Path(folder)))
                print(*rows[-1].values(), flush=True)
    print_table(rows)
    print("wrote", write_table("export-matrix", rows, torch.device("cpu"), args.out))


if __name__ == "__main__":
    main()
