"""load_weights: find a file, read it safely, bring it to our names, compare everything, and only then copy."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from volovan.files.checkpoint import description
from volovan.models.config import image_size
from volovan.models.preprocessing import Preprocessing
from volovan.models.weights import download, table
from volovan.models.weights.fit import HEADS, POSITION, Fit, fit, square_grid
from volovan.models.weights.keymaps import State, to_ours
from volovan.models.weights.reading import RawFile, WeightsError, safe_read

logger = logging.getLogger("volovan")

# What a file's config says about its run rather than about its tensors.
NOT_OF_THE_WEIGHTS = ("name", "num_classes", "in_chans")
# Beside the heads: what may differ in shape between two networks of one variant.
ADAPTED = (POSITION, "patch_embed1.proj.weight", "patch_embed.conv.0.weight", "patch_embed.conv1.weight")


@dataclass(frozen=True)
class LoadReport:
    """What load_weights did.

    source      the file
    layout      whose names it used
    loaded      number of tensors copied
    missing, unexpected   names left aside (strict=False only)
    notes       sentences: new head, resized position embedding, adapted channels, averaged weights
    """

    source: Path
    layout: str
    loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.loaded} tensors from {self.source.name} ({self.layout})"
        aside = [f"{len(n)} {word}" for word, n in (("missing", self.missing), ("unexpected", self.unexpected)) if n]
        return "; ".join([text, *aside, *self.notes])


def load_weights(model: nn.Module, source: str | Path, strict: bool = True, ema: bool = True) -> LoadReport:
    """Load published or own weights into a VOLO, VAN or LV-ViT.

    source   a path, a name of the table of published weights, or a hub name, always with its prefix:
             "hf:organisation/repository[/file]".
             The names in the file may be original, timm, mmpretrain, transformers or our own: they are recognised
             by themselves and by shapes, never by the name of the file
    strict   False allows missing and unexpected names; a wrong shape is refused all the same
    ema      take averaged weights where the file has them beside the others
    returns  LoadReport; `model.preprocessing` is set where the source states it
    raises   WeightsError (a ValueError): not found, unreadable, refused, or it does not fit. Then nothing was loaded.
    """
    model = unwrapped(model)
    path, entry = locate(source)
    if entry is not None:
        check_model(entry, model.config.name)  # type: ignore[union-attr, arg-type]
        path = download.fetch(entry)
    assert path is not None  # locate gives a path or a row
    raw = safe_read(path)
    state, layout, notes = to_ours(raw, ema)
    result = fit(model, state, built_for(raw))
    if not result.fits(strict):
        raise WeightsError(_misfit(model, raw, state, result))
    model.load_state_dict(result.tensors, strict=False)
    own: Preprocessing = model.preprocessing  # type: ignore[assignment]
    model.preprocessing = stated_preprocessing(model.config, own, raw, entry)  # type: ignore[assignment]
    notes += result.notes
    for note in notes:
        logger.log(logging.WARNING if "head" in note else logging.INFO, "%s: %s", path.name, note)
    return LoadReport(path, layout, len(result.tensors), tuple(result.missing), tuple(result.unexpected), tuple(notes))


def config_overrides(name: str, weights: str | Path | None = None) -> dict[str, Any]:
    """Settings that the network needs for these weights: what create_model builds with unless the user says otherwise.

    weights  as in load_weights; None for the published default of the model
    returns  {"img_size": ...} for published weights and foreign files with a position embedding; for checkpoints of our
             own runs every field of their config but the classes and channels
    """
    path, entry = _find(name, weights)
    if entry is not None:
        return {"img_size": entry.size}
    assert path is not None
    raw = safe_read(path)
    config = description(raw.metadata).get("config", {})
    if config.get("name") == name:
        rates = [key for key in config if key.endswith("_rate")]
        return {key: _tuple(value) for key, value in config.items() if key not in (*NOT_OF_THE_WEIGHTS, *rates)}
    position = to_ours(raw)[0].get(POSITION)
    if position is None:
        return {}
    grid = tuple(position.shape[1:3]) if position.dim() == 4 else square_grid(position.shape[1] - 1)
    return {"img_size": (16 * grid[0], 16 * grid[1])} if grid else {}


def apply(model: nn.Module, name: str, weights: str | Path | None = None) -> LoadReport:
    """Load `weights`, or the published default of the model `name`."""
    path, entry = _find(name, weights)
    return load_weights(model, entry.name if entry else path)  # type: ignore[arg-type]


# Finding


def _find(name: str, weights: str | Path | None) -> tuple[Path | None, table.Entry | None]:
    """As locate, with None for the default row of a model; a row of another model is refused."""
    if weights is None:
        entry = table.default_entry(name)
        if entry is None:
            raise WeightsError(f"no weights of {name} are published; pass weights=PATH, or pretrained=False")
        return None, entry
    path, entry = locate(weights)
    if entry is not None:
        check_model(entry, name)
    return path, entry


def check_model(entry: table.Entry, name: str) -> None:
    """Refuse a row of another model before anything is downloaded."""
    if entry.model != name:
        raise WeightsError(
            f'the weights {entry.name} are for {entry.model}, not {name}; use create_model("{entry.model}", '
            f'weights="{entry.name}")'
        )


def locate(source: str | Path) -> tuple[Path | None, table.Entry | None]:
    """A path on this machine, or a row of the table that is yet to be fetched."""
    text = str(source)
    path = Path(source).expanduser()
    published = text in table.TABLE or table.default_entry(text) is not None
    if path.is_file() or (path.is_dir() and not published):  # a folder may well be named after a model
        return path, None
    if text.startswith("hf:"):
        return download.fetch_hub(text.removeprefix("hf:")), None
    if isinstance(source, str) and re.fullmatch(r"[\w-]+", text):
        try:
            return None, table.get_entry(text)
        except ValueError as error:
            raise WeightsError(f"weights {text!r}: there is no such file, and {error}") from error
    hint = "; a name on the hub is written hf:NAME" if isinstance(source, str) and "/" in text else ""
    raise WeightsError(f"weights {text}: there is no such file{hint}")


# What our own checkpoints say about themselves


def built_for(raw: RawFile) -> tuple[int, int] | None:
    """(height, width) of the picture that the trunk of a run was built for, where the file says it."""
    config = description(raw.metadata).get("config", {})
    size = _tuple(config.get("trunk", config).get("img_size"))
    return (size, size) if isinstance(size, int) else size


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def stated_preprocessing(config: Any, own: Preprocessing, raw: RawFile, entry: table.Entry | None) -> Preprocessing:
    """What the source states of preprocessing, at the size that a network with this config is built for; else `own`."""
    said = description(raw.metadata).get("preprocessing", {})
    if entry is not None:
        found = entry.preprocessing
    elif isinstance(said, dict) and {f.name for f in fields(Preprocessing)} == set(said):
        found = Preprocessing(**{key: _tuple(value) for key, value in said.items()})
    else:
        return own
    if entry is not None or image_size(config) != built_for(raw):  # the model was built for another size
        found = replace(found, input_size=image_size(config))
    if len(found.mean) != config.in_chans:
        found = replace(found, mean=own.mean, std=own.std)
    return found


# Saying what does not fit


def unwrapped(model: nn.Module) -> nn.Module:
    """The backbone inside DistributedDataParallel or torch.compile."""
    for name in ("module", "_orig_mod"):
        model = getattr(model, name, model)
    if not hasattr(model, "config") or not hasattr(model, "preprocessing"):
        raise WeightsError(f"load_weights expects a VOLO, VAN or LV-ViT, found {type(model).__name__}")
    return model


def _misfit(model: nn.Module, raw: RawFile, state: State, result: Fit) -> str:
    path = raw.path
    name: str = model.config.name  # type: ignore[union-attr, assignment]
    held = recognise(state)
    if held and held != name and _trunk(model.state_dict()) != _trunk(state):
        return f'{path.name} holds {held}, not {name}; nothing was loaded. Use create_model("{held}", weights="{path}")'
    run = description(raw.metadata).get("config", {}).get("name")
    if run and run != name:
        return (
            f"{path.name} does not fit {name}; nothing was loaded. This file is a run of `{run}` with other settings; "
            f'use --model.name {run} (create_model("{run}", weights="{path}"))'
        )
    hint = f' create_model("{run}", weights="{path}") takes its settings from the file.' if run else ""
    if not result.wrong_shape and result.tensors:
        hint += " strict=False loads what there is."
    return f"{path.name} does not fit {name}; nothing was loaded.{hint}\n{result.misfits()}"


def recognise(state: State) -> str | None:
    """The published variant that a state dict in our names is, by its shapes; None if it is another network."""
    held = _trunk(state)
    return next((name for name, shapes in _published_trunks().items() if shapes == held), None)


@cache
def _published_trunks() -> dict[str, dict[str, torch.Size]]:
    from volovan.models.factory import build, find_config, list_models

    with torch.device("meta"):
        return {name: _trunk(build(find_config(name)).state_dict()) for name in list_models()}


def _trunk(state: State) -> dict[str, torch.Size]:
    """Names and shapes, those aside that are adapted while loading."""
    return {
        key: tensor.shape
        for key, tensor in state.items()
        if not key.startswith(HEADS) and key not in ADAPTED and not key.endswith("num_batches_tracked")
    }
