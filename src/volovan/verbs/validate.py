"""volovan validate RUN|RECIPE|MODEL"""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volovan.engine.settings import SettingsError
from volovan.verbs.options import add_machine, add_size, chosen, machine, parse, settings_of

if TYPE_CHECKING:
    from volovan.engine.distributed import Place
    from volovan.use.load import Named

SUMMARY = "metrics of a run or a model on labelled pictures"


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options of every room."""
    parser.add_argument("model", help="a run folder, a checkpoint file, a recipe, or a model of `volovan models`")
    parser.add_argument("--data", help="labelled pictures; default: the validation data of the run or recipe")
    parser.add_argument("--split", help="split of the data; default: that of the run, or val")
    parser.add_argument("--weights", help="weights for a model named by its variant; default: its published ones")
    add_size(parser)
    add_machine(parser, batch_size=64)
    parser.add_argument(
        "--limit", type=int, help="use so many pictures only: the first; of each set of the suite, spread"
    )
    parser.add_argument("--on-bad", choices=("stop", "skip"), default="stop", help="what an unreadable file does")
    parser.add_argument("--out", help="folder of metrics.json, tables and pictures")
    parser.add_argument(
        "--pictures",
        type=int,
        default=6,
        metavar="N",
        help="with --out, draw the N worst and the N best pictures beside what is true of them",
    )


def main(words: list[str]) -> int:
    """Print the table of a model; with --out, files beside it. Under torchrun, every process calls this.

    1: not a single figure could be told.
    """
    args, named, own = parse("validate", SUMMARY, words, add_common)
    from volovan.engine.distributed import distributed
    from volovan.use.load import open_model, validation_data
    from volovan.use.rooms import ROOMS
    from volovan.use.validate import open_labelled, say, validate, write

    if getattr(args, "suite", None):
        return _suite(args, named, own)
    if getattr(args, "root", None) or getattr(args, "sets", None):
        raise SettingsError("--root and --sets belong to --suite imagenet; add it, or name pictures with --data")
    options = chosen(args, own, ROOMS[named.room].ready())
    spec, split, trained = validation_data(named, args.data, args.split)
    with distributed(args.device) as place:
        ready = open_model(named).to(place.device).using(**options)
        recipe = named.settings()
        drawn_on = getattr(recipe.data, "drawn_on", None) if recipe else None
        source = open_labelled(spec, split, ready.kind, trained, drawn_on)
        ready = ready.fused(min(len(source), args.limit or len(source)))
        with _results(args, place):
            found = validate(ready, source, place, **machine(args), limit=args.limit, on_bad=args.on_bad)
            if place.leads:
                say(ready, found)
                more = _baselines(args, named, ready, source, found)
                if args.out:
                    write(ready, source, found, Path(args.out), args.pictures, more)
    return 1 if found.empty else 0


def _results(args: argparse.Namespace, place: Place) -> AbstractContextManager[None]:
    """The folder of --out, in the one process that writes there."""
    from volovan.files.results import results

    return results(Path(args.out), "validate") if args.out and place.leads else nullcontext()


def _suite(args: argparse.Namespace, named: Named, own: list[str]) -> int:
    """--suite imagenet of classification."""
    from volovan.engine.distributed import distributed
    from volovan.suite.run import SuiteSettings, run_suite
    from volovan.use.load import open_model
    from volovan.use.rooms import ROOMS

    if args.data or args.split:
        raise SettingsError("--suite brings its own data; leave out --data and --split, or choose sets with --sets")
    options = chosen(args, own, ROOMS[named.room].ready())
    with distributed(args.device) as place:

        def ready() -> Any:
            return open_model(named).to(place.device).using(**options).fused()

        with _results(args, place):
            return run_suite(ready, settings_of(SuiteSettings, args), place)


def _baselines(args: argparse.Namespace, named: Named, ready: Any, source: Any, found: Any) -> dict[str, Any]:
    """--baselines of saliency: what is scored by looking at no picture, printed and returned."""
    if not getattr(args, "baselines", False):
        return {}
    from volovan.saliency.baselines import score_run_baselines

    settings = named.settings()
    if settings is None:
        raise SettingsError("--baselines come from training masks; name a run, whose recipe says where they are")
    quantise = ready.options.maps == "8bit"
    scores = score_run_baselines(settings, source, list(found.metric.rows), quantise)  # type: ignore[arg-type]
    for name, values in scores.items():
        print(f"  {name:26s} " + "  ".join(f"{key} {value:.4f}" for key, value in values.items()))
    return {"baselines": scores}
