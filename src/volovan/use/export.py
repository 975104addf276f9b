"""volovan.export: a network in a file that other programs run, or a folder that is handed on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from volovan.data.errors import BadImage, SourceError
from volovan.data.images import open_images
from volovan.data.samples import spread_indices
from volovan.data.source import Source
from volovan.data.sources import open_source
from volovan.engine.distributed import Place
from volovan.engine.settings import SettingsError, expand_variables
from volovan.export import weights as weights_of
from volovan.export.exporting import Exported, Judge, about_of, choose_format
from volovan.export.exporting import export as write
from volovan.export.package import write_package
from volovan.files.folders import new_folder
from volovan.files.nearest import nearest_or_all
from volovan.files.whole import new_file
from volovan.room.ready import Ready
from volovan.room.settings import Size, at_least, parse_size
from volovan.use.load import Named, find_model, open_model, validation_data
from volovan.use.validate import open_labelled, validate

GRAPHS = ("onnx", "torch-export", "aotinductor", "openvino")
WEIGHTS = ("timm", "original", "huggingface")
TO = (*GRAPHS, *WEIGHTS, "package")
CALIBRATED = 64
"""pictures by which the ranges of int8 are found"""
COMPARED = 4
"""pictures by which a file is compared with its network"""
DRAWN = "shapes"
"""scenes that are drawn, where no pictures are at hand"""


def export(
    model: str | Path,
    to: str = "onnx",
    out: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    size: Any = None,
    batch: int | None = None,
    raw: bool = False,
    precision: str = "fp32",
    compare: str | Sequence[str] | None = None,
    calibrate: str | Sequence[str] | None = None,
    data: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    most_lost: float | None = None,
) -> Exported | Path:
    """Write a network into a file, compare both on pictures, and keep the file if they agree.

    model      a run folder, a checkpoint, a recipe with weights, or a variant, as `volovan.load` takes it
    to         "onnx", "torch-export", "aotinductor" or "openvino"; weights in the names of "timm", "original",
               "huggingface"; or "package", a folder to hand on
    out        the file, or a new folder; default: the name of the model in the current folder
    weights    for a recipe or a variant
    size       (height, width), or one side: the only size that it takes; None: any
    batch      the only number of pictures that it takes at once; None: any
    raw        it takes pictures as bytes, (B, H, W, 3) uint8, and normalises them itself
    precision  "fp32", "fp16", "bf16", of some formats "int8", "int8-weights"
    compare    pictures to compare by: files, folders, data sets; default: some of the validation data, else drawn
               scenes
    calibrate  pictures by which the ranges of int8 are found; default: of the data that the run was trained on
    data       labelled pictures on which what is not fp32 is validated, `split` of them, `limit` pictures; default:
               those of the run
    most_lost  of the figure that the run was judged by; a file that loses more is not kept
    returns    what was written and how it was compared; of weights and packages the path
    raises     ValueError: there is no such thing, it cannot be written, or the file deviates
    """
    if to not in TO:
        raise SettingsError(f"--to is {to!r}; {nearest_or_all(to, TO)}")
    if to not in GRAPHS:
        said = {"size": size, "batch": batch, "raw": raw or None, "calibrate": calibrate, "most_lost": most_lost}
        for key, value in {**said, "precision": None if precision == "fp32" else precision}.items():
            if value is not None:
                raise SettingsError(f"--{key.replace('_', '-')} is of graphs, not of --to {to}; leave it out")
        return hand_on(str(model), to, out, weights, compare, data, split, limit)
    how = choose_format(to, precision)
    at_least("--batch", batch, 1)
    found = find_model(str(model), None if weights is None else str(weights))
    if found.file is not None:
        raise SettingsError(f"{model} is an exported file already; name the run or the model that it was made of")
    ready = open_model(found)
    about = about_of(ready, raw=raw, size=parse_size(size), batch=batch, precision=precision)
    path = Path(out) if out is not None else Path(f"{stem(found)}{how.suffix}")
    judge = judge_of(found, ready, data, split, limit, most_lost) if precision != "fp32" or most_lost else None
    ranges = calibration_pictures(found, ready, calibrate) if precision == "int8" else []
    return write(ready, how, path, about, some_pictures(found, ready, compare), ranges, judge)


def hand_on(
    model: str,
    to: str,
    out: str | Path | None,
    weights: str | Path | None,
    pictures: str | Sequence[str] | None,
    data: str | None,
    split: str | None,
    limit: int | None,
) -> Path:
    """Weights for others, or a package; nothing is left of one that fails."""
    found = find_model(model, None if weights is None else str(weights))
    if found.file is not None:
        raise SettingsError(f"{model} is an exported file already; name the run or the model that it was made of")
    ready = open_model(found)
    path = Path(out) if out is not None else Path(f"{stem(found)}_{to}{'.pth' if to == 'original' else ''}")
    if to == "original":
        if path.exists():
            raise SettingsError(f"{path} is there already; name another file with --out")
        with new_file(path) as made:
            weights_of.write_original(ready, made)
        return path
    with new_folder(path) as folder:
        if to == "package":
            judge = judge_of(found, ready, data, split, limit, None)
            settings = found.settings()
            trained = Path(settings.data.source).name if settings else ""
            chosen = some_pictures(found, ready, pictures)
            write_package(ready, folder, path.name, chosen, trained, judge.figures(ready) if judge else None)
        else:
            (weights_of.write_timm if to == "timm" else weights_of.write_huggingface)(ready, folder)
    return path


def stem(found: Named) -> str:
    """How a file is called that is made of a model."""
    path = Path(found.word)
    return path.name if path.is_dir() else path.stem


def some_pictures(found: Named, ready: Ready[Any], asked: str | Sequence[str] | None) -> list[Image.Image]:
    """A few of those that were asked for, of the validation data, or drawn ones."""
    if asked is not None:
        return read_some(open_images([asked] if isinstance(asked, str) else list(asked), ready.kind))
    try:
        spec, split, _ = validation_data(found, None, None)
        return read_some(open_source(expand_variables(spec), split, ready.kind))
    except (SettingsError, SourceError, BadImage):  # not at hand here, which is no reason not to export
        return read_some(open_images([DRAWN], ready.kind))


def calibration_pictures(found: Named, ready: Ready[Any], asked: str | Sequence[str] | None) -> list[Image.Image]:
    """CALIBRATED of those that were asked for, else of the training data."""
    if asked is not None:
        return read_some(open_images([asked] if isinstance(asked, str) else list(asked), ready.kind), CALIBRATED)
    settings = found.settings()
    if settings is None:
        raise SettingsError(f"{found.word} does not say which pictures it was trained on; name some with --calibrate")
    source = open_source(expand_variables(settings.data.source), settings.data.train_split, ready.kind)
    return read_some(source, CALIBRATED)


def judge_of(
    found: Named, ready: Ready[Any], data: str | None, split: str | None, limit: int | None, most_lost: float | None
) -> Judge | None:
    """Validation on the data that were named, or on those of the run; None: there are none."""
    try:
        spec, part, trained = validation_data(found, data, split)
        source = open_labelled(spec, part, ready.kind, trained)
    except (SettingsError, SourceError):
        if data is not None or most_lost is not None:
            raise
        return None

    def figures(network: Ready[Any]) -> dict[str, float]:
        return validate(network, source, Place(network.device), workers=0, limit=limit).figures

    return Judge(figures, ready.goal, most_lost)


def read_some(source: Source, count: int = COMPARED) -> list[Image.Image]:
    """Evenly spread; BadImage for one that cannot be read."""
    if not len(source):
        raise SettingsError("the source to compare by holds no picture; name another one")
    return [source.load(index) for index in spread_indices(len(source), count)]


def pixels_of(size: Size | None) -> str:
    return "any size" if size is None else f"{size[0]}x{size[1]}"
