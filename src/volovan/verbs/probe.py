"""volovan probe RUN|MODEL SOURCE"""

import argparse
from pathlib import Path

from volovan.engine.settings import SettingsError, expand_variables
from volovan.room.settings import parse_size
from volovan.verbs.options import add_machine, settings_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a run folder, a checkpoint file, or a model of `volovan models`")
    parser.add_argument("source", help="labelled pictures: the train split is learned from, the val split scored")
    parser.add_argument("--val", help="another source of the pictures to score")
    parser.add_argument("--train-split", default="train")
    parser.add_argument("--val-split", default="val")
    parser.add_argument("--weights", help="weights for a model named by its variant; default: its published ones")
    parser.add_argument("--out", default="probe", help="folder of features, scores and the linear classifier")
    parser.add_argument("--k", type=int, nargs="+", default=[20], help="numbers of neighbours")
    parser.add_argument("--temperature", type=float, default=0.07, help="of the neighbours' votes")
    parser.add_argument("--l2", type=float, nargs="+", help="strengths to choose from; default: 1e-6 to 10")
    parser.add_argument("--steps", type=int, default=300, help="of L-BFGS, at most, for each strength")
    parser.add_argument("--only", choices=("knn", "linear"), help="one of the two")
    parser.add_argument("--size", type=int, nargs="+", help="size, or height and width; default: the model's")
    add_machine(parser, batch_size=64, pictures=None, workers=None)


def run(args: argparse.Namespace) -> int:
    from volovan.classify.data import refuse_unlike
    from volovan.data.sources import open_source
    from volovan.engine.distributed import choose_device
    from volovan.files.results import results
    from volovan.transfer.linear import STRENGTHS
    from volovan.transfer.probe import ProbeSettings, probe
    from volovan.use.load import find_model, open_model

    settings = settings_of(ProbeSettings, args, l2=args.l2 or STRENGTHS)
    named = find_model(args.model, args.weights)
    if named.room != "classify":
        raise SettingsError(f"{args.model} is of the task {named.room}; features are those of a classifier")
    ready = open_model(named).to(choose_device(args.device)).using(size=parse_size(args.size, least=8))
    sides = []
    train_on, val_on = (expand_variables(spec) for spec in (args.source, args.val or args.source))
    for spec, split, other in ((train_on, args.train_split, val_on), (val_on, args.val_split, train_on)):
        source = open_source(spec, split, beside=other)
        refuse_unlike("class", source, spec)
        sides.append(source)
    train, val = sides
    features = [f"{split}.{kind}" for split in ("train", "val") for kind in ("safetensors", "csv")]
    with results(Path(args.out), "probe", lasting=features):
        probe(ready, train, val, Path(args.out), settings)  # type: ignore[arg-type]
    return 0
