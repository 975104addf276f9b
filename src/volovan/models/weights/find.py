"""From what a user names to weights that were read, and what they say of the network that they are of."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from volovan.files.described import description
from volovan.files.runs import best_checkpoint, is_run, missing_weights
from volovan.models.config import image_size
from volovan.models.preprocessing import Preprocessing
from volovan.models.weights import download, table
from volovan.models.weights.fit import POSITION, square_grid
from volovan.models.weights.keymaps import to_ours
from volovan.models.weights.networks import State
from volovan.models.weights.reading import RawFile, WeightsError, of_another, safe_read

# What a file's config says about its run rather than about its tensors.
NOT_OF_THE_WEIGHTS = ("name", "in_chans")
CLASSIFIER = "head.weight"


@dataclass(frozen=True)
class Weights:
    """A file that was read, and its row in the table of published weights if it has one."""

    raw: RawFile
    entry: table.Entry | None = None

    @property
    def path(self) -> Path:
        return self.raw.path

    @property
    def about(self) -> dict[str, Any]:
        """What a checkpoint of our runs says of its task; empty for other files."""
        return description(self.raw.metadata)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the outputs, where the file says them."""
        names = self.about.get("classes")
        return tuple(names) if names else None


def read_weights(source: str | Path | Weights | None, name: str) -> Weights:
    """Find, fetch and read weights for the model `name`, once; None: the published default of that model.

    raises  WeightsError (a ValueError): not found, unreadable, refused, or published for another model
    """
    if isinstance(source, Weights):
        return source
    if source is None:
        entry = table.default_entry(name)
        if entry is None:
            raise WeightsError(
                f"no weights of {name} are published",
                "pass weights=PATH, or pretrained=False",
                "name a file with --model.weights FILE, or start without weights: --model.weights null",
                "name a file with --weights FILE",
            )
        path = None
    else:
        path, entry = locate(source)
    if entry is not None:
        if entry.model != name:  # before anything is downloaded
            raise of_another(f"the weights {entry.name} are for {entry.model}, not {name}", entry.model, entry.name)
        path = download.fetch(entry)
    assert path is not None  # locate gives a path or a row
    return Weights(safe_read(path), entry)


def locate(source: str | Path) -> tuple[Path | None, table.Entry | None]:
    """A path on this machine, or a row of the table that is yet to be fetched."""
    text = str(source)
    path = Path(source).expanduser()
    published = text in table.TABLE or table.default_entry(text) is not None
    if path.is_file():
        return path, None
    if path.is_dir() and (is_run(path) or not published):  # any other folder may well be named after a model
        return best_checkpoint(path) if is_run(path) else path, None
    if text.startswith("hf:"):
        return download.fetch_hub(text.removeprefix("hf:")), None
    if isinstance(source, str) and re.fullmatch(r"[\w-]+", text):
        try:
            return None, table.get_entry(text)
        except ValueError as error:
            raise WeightsError(f"weights {text!r}: there is no such file, and {error}") from error
    if missing := missing_weights(text):
        raise WeightsError(f"weights {missing}")
    raise WeightsError(f"weights {text}: that is no file; name one, or the folder of a run")


def config_of(weights: Weights, name: str, like: Callable[[], State] | None = None) -> dict[str, Any]:
    """Settings that the network `name` needs for these weights: what create_model builds with unless told otherwise.

    {"num_classes": ...} where the file has a head; {"img_size": ...} for published weights and foreign files with a
    position embedding; for checkpoints of our own runs every field of their config but the channels. `like` gives
    tensors of the network, see `to_ours`.
    """
    config = weights.about.get("config", {})
    if config.get("name") == name:
        rates = [key for key in config if key.endswith("_rate")]
        return {key: _tuple(value) for key, value in config.items() if key not in (*NOT_OF_THE_WEIGHTS, *rates)}
    state = to_ours(weights.raw, like=like() if like else None)[0]
    found: dict[str, Any] = {}
    if CLASSIFIER in state:
        found["num_classes"] = len(state[CLASSIFIER])
    if weights.entry is not None:
        return {**found, "img_size": weights.entry.size}
    position = state.get(POSITION)
    if position is not None:
        grid = tuple(position.shape[1:3]) if position.dim() == 4 else square_grid(position.shape[1] - 1)
        found |= {"img_size": (16 * grid[0], 16 * grid[1])} if grid else {}
    return found


def built_for(weights: Weights) -> tuple[int, int] | None:
    """(height, width) of the picture that the trunk of a run was built for, where the file says it."""
    config = weights.about.get("config", {})
    size = _tuple(config.get("trunk", config).get("img_size"))
    return (size, size) if isinstance(size, int) else size


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def stated_preprocessing(config: Any, own: Preprocessing, weights: Weights) -> Preprocessing:
    """What the source states of preprocessing, at the size that a network with this config is built for; else `own`."""
    said = weights.about.get("preprocessing", {})
    if weights.entry is not None:
        found = weights.entry.preprocessing
    elif isinstance(said, dict) and {f.name for f in fields(Preprocessing)} == set(said):
        found = Preprocessing.described(said)
    else:
        return own
    if weights.entry is not None or image_size(config) != built_for(weights):  # the model was built for another size
        found = replace(found, input_size=image_size(config))
    if len(found.mean) != config.in_chans:
        found = replace(found, mean=own.mean, std=own.std)
    return found
