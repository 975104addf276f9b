"""volovan label TEACHER SOURCE --out DIR | label --verify DIR [SOURCE] | label --convert IN --out OUT"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from volovan.engine.settings import SettingsError
from volovan.room.settings import at_least
from volovan.verbs.options import add_machine, settings_of

if TYPE_CHECKING:
    import torch

    from volovan.labels.teacher import Teacher


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "volovan label TEACHER SOURCE --out DIR [options]\n"
        "       volovan label --verify DIR [SOURCE]\n"
        "       volovan label --convert IN --out OUT"
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="TEACHER SOURCE",
        help="teacher: timm:NAME, a run folder, a checkpoint file, or a model of `volovan models`; source: class "
        "folders, manifest, shards, ImageNet, CIFAR, hf:NAME or digits",
    )
    parser.add_argument("--out", help="folder of the labels; what is there already is kept")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--verify", metavar="DIR", help="name every label map that is missing, damaged or odd")
    modes.add_argument(
        "--convert", metavar="IN", help="write the published layout as compact, the compact as published"
    )
    parser.add_argument("--weights", help="of timm:NAME or a model's name: a file, or random; default: published ones")
    parser.add_argument("--size", type=int, help="pixels the teacher sees; default: the size it is validated at")
    parser.add_argument(
        "--crop",
        choices=("centre", "image"),
        default="centre",
        help="centre: shorter side to the size, centre square, as published; image: the whole picture",
    )
    parser.add_argument("--top", type=int, default=5, help="classes kept at every position")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument(
        "--layout",
        choices=("compact", "published"),
        default="compact",
        help="compact: a few large files; published: one .pt a picture",
    )
    parser.add_argument("--split", help="split of the source; default: train if it has splits, else all of it")
    parser.add_argument("--limit", type=int, help="label the first so many pictures only")
    add_machine(parser, 32, "64 at most", "loader processes for each process", "of the teacher's trunk")
    parser.add_argument("--on-bad", choices=("stop", "skip"), default="stop", help="what an unreadable picture does")
    parser.add_argument("--pictures", type=int, default=24, help="samples on DIR/pictures.png; 0: none")


def run(args: argparse.Namespace) -> int:
    if args.verify is not None:
        if len(args.words) > 1 or args.out:
            raise SettingsError("--verify takes a folder of labels and, if wanted, the source of its pictures")
        return _verify(args)
    if args.convert is not None:
        if args.words or not args.out:
            raise SettingsError("--convert IN takes --out OUT, and no teacher or source")
        from volovan.labels.convert import convert

        store = convert(args.convert, Path(args.out))
        print(f"wrote {len(store):,} label maps to {args.out} in the {store.layout} layout")
        return 0
    if len(args.words) != 2 or not args.out:
        raise SettingsError(
            "expected a teacher, a source and --out DIR: volovan label timm:resnet50 PICTURES --out DIR"
        )
    for key in ("size", "top", "limit", "batch_size"):
        at_least(f"--{key.replace('_', '-')}", getattr(args, key), 1)
    return _label(args)


def _split(spec: str, split: str | None) -> str | None:
    """The asked split; else train, else None for everything."""
    from volovan.data import list_splits

    return split or ("train" if "train" in list_splits(spec) else None)


def _label(args: argparse.Namespace) -> int:
    from volovan.data import Source, open_source
    from volovan.data.samples import Part
    from volovan.engine.distributed import distributed
    from volovan.files.results import refuse_foreign, results
    from volovan.labels.draw import write_pictures
    from volovan.labels.generate import Plan, generate
    from volovan.labels.store import open_labels
    from volovan.labels.view import TeacherView
    from volovan.labels.writers import UNIT

    if args.batch_size > UNIT:
        raise SettingsError(f"--batch-size is {args.batch_size}; {UNIT} at most, since work is taken in such units")
    with distributed(args.device) as place:
        say: Callable[[str], None] = print if place.leads else lambda line: None
        split = _split(args.words[1], args.split)
        source: Source = open_source(args.words[1], split)
        if args.limit is not None and args.limit < len(source):
            source = Part(source, range(args.limit))
        teacher = _teacher(args, place.device)
        size = args.size or max(teacher.preprocessing.input_size)
        skip_bad = args.on_bad == "skip"
        plan = settings_of(Plan, args, size=size, coverage=args.crop, skip_bad=skip_bad, split=split)
        say(f"{teacher.name}: {teacher.num_classes:,} classes, {size} pixels, one cell for each {teacher.stride}")
        out = Path(args.out)
        refuse_foreign(out, ["pictures.png"], "move it away, or name another folder with --out")
        made = generate(teacher, source, out, plan, place, say)
        for line in made.skipped:
            say(f"skipped: {line}")
        say(
            f"{made.made:,} label maps made in {made.seconds:.1f} s, {made.kept:,} kept, {len(made.skipped):,} left out"
        )
        if place.leads and args.pictures:
            view = TeacherView(teacher.preprocessing, size, args.crop, teacher.stride)
            with results(out, "label", beside=None):
                if write_pictures(out / "pictures.png", open_labels(out), source, view, args.pictures):
                    print(f"wrote {out} with {out / 'pictures.png'}")
    return 1 if made.skipped else 0


def _teacher(args: argparse.Namespace, device: torch.device) -> Teacher:
    import torch

    from volovan import create_model, list_models
    from volovan.files.classes import IMAGENET, output_names, wnids
    from volovan.labels.teacher import build_timm, make_teacher
    from volovan.use.load import find_model, open_model

    spec = args.words[0]
    if spec.startswith("timm:"):
        name = spec.removeprefix("timm:")
        model, classes, seen = build_timm(name, args.weights, args.size, whole=args.crop == "image")
        return make_teacher(spec, model, classes, seen, args.size, device)
    if args.weights == "random":
        if spec not in list_models():
            raise SettingsError(
                f"--weights random goes with timm:NAME or a name that `volovan models` lists; {spec} is neither"
            )
        torch.manual_seed(0)  # the same in every process
        untrained = create_model(spec)
        return make_teacher(spec, untrained, None, untrained.preprocessing, args.size, device)
    named = find_model(spec, args.weights)
    if named.room != "classify":
        raise SettingsError(f"{spec} is of the task {named.room}; a teacher is a classifier")
    classifier = open_model(named)
    names = classifier.classes
    if len(names) == IMAGENET and names == output_names(IMAGENET):
        names = wnids()  # labels call classes as folders do
    seen = classifier.model.preprocessing  # type: ignore[assignment]
    return make_teacher(Path(spec).name, classifier.model, names, seen, args.size, device)


def _verify(args: argparse.Namespace) -> int:
    from volovan.data import open_source
    from volovan.labels.errors import existing
    from volovan.labels.verify import verify

    existing(args.verify)
    source = open_source(args.words[0], _split(args.words[0], args.split)) if args.words else None
    problems = 0
    for line in verify(args.verify, source, args.workers):
        print(line)
        problems += 1
    count = f"{problems:,} problem{'' if problems == 1 else 's'}"
    print(f"{args.verify}: {count if problems else 'all label maps are whole'}")
    return 1 if problems else 0
