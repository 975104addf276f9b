"""volovan demo: small networks trained, validated and used on data that come with the package, and a page of it all."""

import argparse
import json
import os
import sys
import time
import webbrowser
from pathlib import Path

from volovan.engine.settings import SettingsError
from volovan.files.results import results
from volovan.verbs import call, fit, predict, validate
from volovan.verbs.demo_page import write_page
from volovan.verbs.demo_tasks import DEMOS, Demo, Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", default="classify", help=f"{', '.join(DEMOS)}; default classify")
    parser.add_argument("--out", help="folder of runs, pictures and page; default runs/demo-TASK-DATE")
    parser.add_argument("--no-open", action="store_true", help="name the page, but do not open it in a browser")
    parser.add_argument("--epochs", type=int, help="train for so many epochs instead of the recipes' number")
    parser.add_argument("--steps", type=int, help="end each training after so many steps, to see the page soon")


def run(args: argparse.Namespace) -> int:
    if args.task not in DEMOS:
        raise SettingsError(f"--task {args.task}: there is no such demo; expected {', '.join(DEMOS)}")
    begin, demo = time.perf_counter(), DEMOS[args.task]
    folder = Path(args.out) if args.out else Path("runs") / f"demo-{args.task}-{time.strftime('%Y%m%d-%H%M%S')}"
    with results(folder, "demo"):
        return _demo(args, demo, folder, begin)


def _demo(args: argparse.Namespace, demo: Demo, folder: Path, begin: float) -> int:
    pictures = _write_pictures(demo, folder / "pictures")
    shorter = ["--schedule.epochs", str(args.epochs), "--schedule.warmup_epochs", "0"] if args.epochs else []
    shorter += ["--train.max_steps", str(args.steps)] if args.steps else []
    made = {}
    for number, (name, recipe) in enumerate(demo.nets.items(), 1):
        print(f"\n[{number}/{len(demo.nets)}] a small {name}: volovan fit {recipe}", flush=True)
        words = [word.format(folder=folder) for word in demo.words.get(name, ())]
        made[name] = _one_net(recipe, folder / name.lower(), pictures, shorter, words)
    page = write_page(folder, demo, made, time.perf_counter() - begin)
    scores = ", ".join(f"{name} {demo.columns[0].say(result.metrics)}" for name, result in made.items())
    print(f"\n{demo.score}: {scores}")
    print(f"The page: {page.resolve().as_uri()}")
    if not args.no_open and sys.stdout.isatty() and (os.environ.get("DISPLAY") or sys.platform in ("darwin", "win32")):
        webbrowser.open(page.resolve().as_uri())
    return 0


def _write_pictures(demo: Demo, folder: Path) -> Path:
    """Some validation pictures as PNG files, so that `predict` starts from files as a user's would."""
    from volovan.data import open_source

    folder.mkdir(parents=True, exist_ok=True)
    name, kind = demo.data
    source = open_source(name, "val", kind)
    step = len(source) // demo.pictures
    for number in range(demo.pictures):
        source.load(number * step).save(folder / f"{demo.picture}_{number:02d}.png")
    return folder


def _one_net(recipe: str, folder: Path, pictures: Path, more: list[str], own: list[str]) -> Result:
    """fit, validate and predict through the verbs themselves. more: words of fit, own: of predict."""
    begin = time.perf_counter()
    call(fit, "fit", "", [recipe, "--out", str(folder), *more])
    call(validate, "validate", "", [str(folder), "--out", str(folder / "validation"), "--workers", "0"])
    words = [str(folder), str(pictures), "--out", str(folder / "predictions"), "--workers", "0", *own]
    call(predict, "predict", "", words)
    metrics = json.loads((folder / "validation" / "metrics.json").read_text())
    return Result(recipe, folder, metrics, time.perf_counter() - begin)
