"""What MODEL means: a run folder, a checkpoint file, a recipe, or a variant. Nothing else reads it.

`find_model` only looks (no tensor is read, no torch imported but for checkpoints); `load` makes of it a network in use.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volovan.engine.settings import SettingsError
from volovan.exports import FILES, PACKAGED
from volovan.files.described import describe_checkpoint
from volovan.files.nearest import nearest
from volovan.files.runs import RECIPE, best_checkpoint, is_run, runs_like
from volovan.use.recipes import find_recipe, read_recipe, recipe_names, task_of
from volovan.use.rooms import ROOMS

if TYPE_CHECKING:
    from volovan.room.ready import Ready
    from volovan.room.settings import RoomRecipe

RECIPE_FILES = (".yaml", ".yml")
WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".bin", ".tar")


@dataclass(frozen=True)
class Named:
    """What a word names.

    room        name of the task that it is for
    word        what the user wrote
    recipe      file of settings: of the run, or the recipe that was named
    checkpoint  of our runs, which says by itself what network it holds
    weights     what the network of a recipe or a variant is to be filled with; None: `pretrained`, the published ones
    variant     name of a backbone, where one was named
    file        that `volovan export` wrote
    """

    room: str
    word: str
    recipe: Path | None = None
    checkpoint: Path | None = None
    weights: str | None = None
    variant: str | None = None
    file: Path | None = None

    def settings(self) -> RoomRecipe | None:
        """The recipe, read; None where there is none."""
        return read_recipe(self.recipe, [])[0] if self.recipe else None


def find_model(word: str, weights: str | None = None) -> Named:
    """Find out what `word` names, and with which weights; SettingsError says what was expected."""
    path = Path(word).expanduser()
    if not word.strip():
        raise SettingsError("the model is empty; name a run folder, a checkpoint, a recipe or a model")
    if (path / PACKAGED).is_file():  # a package, or a folder of the hub, which says that it is none of ours
        path /= PACKAGED
        word = str(path)
    if is_run(path):
        _refuse_weights(word, weights)
        recipe, best = path / RECIPE, best_checkpoint(path)
        return Named(task_of(recipe), word, recipe, best) if recipe.is_file() else _described(word, best)
    if path.is_file() and path.suffix in RECIPE_FILES:
        return _recipe(word, path, weights)
    if path.is_file():
        _refuse_weights(word, weights)
        if path.suffix.lower() in FILES:
            return _exported(word, path)
        if path.suffix not in WEIGHT_FILES:
            raise SettingsError(f"{word} is neither a checkpoint nor a recipe; a recipe ends in .yaml")
        return _described(word, path)
    variants: list[str] = []
    if len(path.parts) == 1:  # names of models come with torch, and a path is none
        from volovan.models.variants import list_models

        variants = list_models()
    if word in variants:
        return _variant(word, weights)
    if word in recipe_names() or path.suffix in RECIPE_FILES:
        return _recipe(word, find_recipe(word), weights)
    if path.is_dir():
        below = [f"{word.rstrip('/')}/{name}" for name in sorted(os.listdir(path)) if is_run(path / name)]
        hint = f"; did you mean {below[-1]}?" if below else "; name a run folder below it, or a checkpoint file"
        raise SettingsError(f"{word} is a folder, but no run (it holds neither {RECIPE} nor checkpoints){hint}")
    runs = runs_like(word)
    hint = f"; did you mean {runs[0]}?" if runs else nearest(word, [*variants, *recipe_names()])
    if not hint and (len(path.parts) > 1 or path.suffix in WEIGHT_FILES):
        raise SettingsError(
            f"{word}: there is no such run folder or file; mend the path, which is taken from {Path.cwd()}"
        )
    hint = hint or "; `volovan models` lists the models, `volovan fit` the recipes"
    raise SettingsError(f"{word!r} is no run folder, no checkpoint, no recipe and no model{hint}")


def find_settings(word: str) -> RoomRecipe:
    """What a run was made by, or a recipe says, whatever weights it begins with."""
    path = Path(word).expanduser()
    return read_recipe(path / RECIPE if is_run(path) else find_recipe(word), [])[0]


def load(word: str | Path, weights: str | Path | None = None, device: str = "auto") -> Ready[Any]:
    """A network that is ready to use: `volovan.load("runs/mine").predict("photo.jpg")`.

    word     a run folder (its best checkpoint), a checkpoint file, a recipe with weights, a variant of
             `volovan.list_models()` with its published weights, or a file of `volovan export`
    weights  for a recipe or a variant: a file, a run folder, or a name of the table of published weights
    device   "auto" takes CUDA, then MPS, then the CPU
    raises   ValueError: there is no such thing, or it does not fit
    """
    from volovan.engine.distributed import choose_device

    found = find_model(str(word), None if weights is None else str(weights))
    return open_model(found).to(choose_device(device))


def open_model(found: Named) -> Ready[Any]:
    """The network that was found, on the CPU."""
    kind = ROOMS[found.room].ready()
    if found.file is not None:
        from volovan.exports.exporting import opened

        ready = opened(kind, found.file)
        ready.opener = load
        return ready
    if found.checkpoint is None:
        return kind.with_weights(found.variant, found.settings(), found.weights)
    from volovan.files.checkpoint import read_checkpoint
    from volovan.models.weights.fit import refuse_not_finite

    tree = read_checkpoint(found.checkpoint)
    ready = kind.described(tree["task"], str(found.checkpoint))
    state = tree["ema"] if "ema" in tree else tree["model"]
    refuse_not_finite(found.checkpoint, state)
    ready.model.load_state_dict(state)
    ready.opener = load
    return ready


def validation_data(found: Named, data: str | None, split: str | None) -> tuple[str, str, str]:
    """(source, split) to validate on: what is asked for, else what the run or recipe validates on. And the source that
    the run trains on, "" where that is not known."""
    settings = found.settings()
    source = data or (settings.data.val or settings.data.source if settings else None)
    if not source:
        raise SettingsError(f"{found.word} does not say which pictures to validate on; name them with --data")
    trained = settings.data.source if settings else ""
    return source, split or (settings.data.val_split if settings and not data else "val"), trained


# What each kind of word leads to


def _described(word: str, path: Path) -> Named:
    """A checkpoint of our runs, as it says of itself."""
    room = _room_of(path)
    if room is None:
        raise SettingsError(
            f"{word} does not say what network it is of; name the model, and the file as weights: "
            f"MODEL --weights {word}"
        )
    return Named(room, word, checkpoint=path)


def _exported(word: str, path: Path) -> Named:
    """A file of `volovan export`, as it says of itself."""
    from volovan.exports.formats import format_of

    task = format_of(path).read_about(path).task
    if task not in ROOMS:
        raise SettingsError(f"{path} is of the task {task!r}; this version knows {', '.join(ROOMS)}")
    return Named(task, word, file=path)


def _recipe(word: str, path: Path, weights: str | None) -> Named:
    """The network of a recipe; weights that are a whole network of its room are that network."""
    settings, _ = read_recipe(path, [])
    weights = weights or settings.model.weights
    if weights is None:
        raise SettingsError(f"recipe {word} starts from random weights; name a run, or --weights FILE")
    own = _own_file(weights)
    if own is not None and _room_of(own) == settings.task:
        return Named(settings.task, word, path, own)
    return Named(settings.task, word, path, weights=None if weights == "pretrained" else weights)


def _variant(word: str, weights: str | None) -> Named:
    """A backbone: a classifier with published or foreign weights, or whatever a checkpoint of ours makes of it."""
    own = _own_file(weights)
    if own is None or _room_of(own) is None:
        return Named("classify", word, weights=weights, variant=word)
    about = describe_checkpoint(own) or {}
    config = about.get("config", {})
    trunk = config.get("trunk", config).get("name")
    if trunk != word:
        raise SettingsError(f"{weights} is of the trunk {trunk}, not of {word}; name it as the model itself")
    return Named(about["task"], word, checkpoint=own)


def _own_file(weights: str | None) -> Path | None:
    """The file that weights name on this machine, of a run folder its best checkpoint; None for a published name."""
    path = Path(weights).expanduser() if weights else None
    if path is None or not (path.is_file() or is_run(path)):
        return None
    return best_checkpoint(path) if is_run(path) else path


def _room_of(path: Path) -> str | None:
    """The room that a checkpoint says it is of; None if it is none of ours."""
    said: str | None = (describe_checkpoint(path) or {}).get("task")
    if said is not None and said not in ROOMS:
        raise SettingsError(f"{path} is a checkpoint of the task {said!r}; this version knows {', '.join(ROOMS)}")
    return said


def _refuse_weights(word: str, weights: str | None) -> None:
    if weights is not None:
        raise SettingsError(f"{word} has weights of its own; leave out --weights {weights}")
