"""volovan fit RECIPE [--dry-run | --plan] [--section.key value ...] | volovan fit --resume RUN"""

import sys
import time
from pathlib import Path
from typing import Any

from volovan.engine.settings import EngineSettings, SettingsError, check_settings
from volovan.files.runs import runs_like
from volovan.room.settings import at_least
from volovan.use.recipes import find_recipe, help_of, packaged, parser_for, read_begun, read_recipe
from volovan.use.rooms import ROOMS
from volovan.verbs.words import Words

_OPTIONS = """--out      the run folder; default runs/RECIPE-DATE
--resume   go on exactly where a run stopped, with its own settings
--dry-run  build everything, take two steps on generated data, show the schedule; writes nothing, whatever --out is
--plan     the same with memory and time of a measured step, and an estimate for the run
--batch    pictures of a step of --dry-run (2) or --plan (as many as the run has; on a GPU at most 128, on a CPU as few
           as take seconds)
"""
USAGE = (
    """usage: volovan fit RECIPE [--out FOLDER] [--section.key value ...]
       volovan fit RECIPE --dry-run | --plan [--batch N] [--section.key value ...]
       volovan fit --resume RUN
       volovan fit RECIPE --help      every key of that recipe's task

RECIPE is a file or one of: {recipes}
"""
    + _OPTIONS
)
_USAGE_OF_ONE = (
    "usage: volovan fit {recipe} [--out FOLDER] [--section.key value ...]\n\n"
    + _OPTIONS
    + "\nKeys of this recipe, with its values as defaults:\n"
)


def main(argv: list[str]) -> int:
    """Read the words and train."""
    parser = Words("volovan fit", add_help=False)
    parser.add_argument("--out")
    parser.add_argument("--resume")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--batch", type=int)
    parser.add_argument("-h", "--help", action="store_true")
    args, words = parser.parse_known_args(argv)
    recipe = words.pop(0) if words and not words[0].startswith("-") else None
    if args.help:
        if recipe is None:
            print(USAGE.format(recipes=", ".join(packaged())))
            parser_for(EngineSettings, "volovan fit RECIPE").print_help()
        else:
            print(_USAGE_OF_ONE.format(recipe=recipe) + help_of(find_recipe(recipe)), end="")
        return 0
    if args.resume:
        if recipe or words or args.out or args.dry_run or args.plan or args.batch:
            raise SettingsError("--resume takes the settings of the run; nothing else can be given with it")
        return resume(Path(args.resume))
    if recipe is None:
        print(USAGE.format(recipes=", ".join(packaged())), file=sys.stderr)
        return 2
    path = find_recipe(recipe)
    settings, text = read_recipe(path, words)
    if args.dry_run or args.plan:
        if args.dry_run and args.plan:
            raise SettingsError("--plan does all that --dry-run does; give one of them")
        at_least("--batch", args.batch, 1)
        from volovan.verbs.rehearsal import rehearse

        return rehearse(settings, path.stem, args.batch, args.plan)
    if args.batch is not None:
        raise SettingsError("--batch belongs to --dry-run and --plan; a run has --train.batch_size")
    refuse_early(settings)
    return fit(settings, text, Path(args.out) if args.out else None, path.stem)


def refuse_early(settings: Any) -> None:
    """What can be told from the settings alone, before torch is imported, which takes seconds."""
    from volovan.engine.schedule import check_schedule

    settings.check()
    check_settings(settings)
    check_schedule(settings.schedule)
    settings.check_paths(ROOMS[settings.task].kind)


def fit(settings: Any, text: str, out: Path | None, name: str) -> int:
    """Train with resolved settings in a new run folder; under torchrun, every process calls this."""
    from volovan.engine.distributed import distributed, share
    from volovan.engine.run import Run

    with distributed(settings.train.device) as place:
        folder = out or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        folder = Path(str(share(str(folder), place)))
        run = Run.create(folder, text, sys.argv) if place.leads else Run(folder, leads=False)
        run.say(f"run folder {folder}")
        try:
            train(settings, run, place)
        except Exception:
            run.discard_unless_begun()
            raise
    return 0


def resume(folder: Path) -> int:
    """Go on with a run."""
    if not (folder / "recipe.yaml").is_file():
        near = runs_like(str(folder))
        hint = f"; did you mean {near[0]}?" if near else "; name the folder that --out named, or one below runs"
        raise SettingsError(f"--resume {folder}: that is no run folder (it holds no recipe.yaml){hint}")
    settings = read_begun(folder / "recipe.yaml")
    from volovan.engine.distributed import distributed
    from volovan.engine.run import Run

    with distributed(settings.train.device) as place:
        run = Run.open(folder, place.leads)
        train(settings, run, place, resume=True)
    return 0


def train(settings: Any, run: Any, place: Any, resume: bool = False) -> dict[str, float]:
    """Build the task of the room, and hand it to the loop."""
    from volovan.engine.loop import Trainer
    from volovan.files.runs import newest_description

    about = newest_description(run.folder) if resume else None
    task = ROOMS[settings.task].task()(settings, about)
    return Trainer(task, settings, run, place).fit(resume)
