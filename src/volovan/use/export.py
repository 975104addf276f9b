"""volovan.export: a network in a file that other programs run, or a folder that is handed on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from volovan.data.errors import BadImage, SourceError
from volovan.data.images import open_images
from volovan.data.samples import spread_indices
from volovan.data.source import Source
from volovan.data.sources import open_source
from volovan.engine.distributed import Place
from volovan.engine.progress import speak
from volovan.engine.settings import SettingsError, expand_variables
from volovan.exports import FILES, GRAPHS, TO
from volovan.exports import weights as others
from volovan.exports.exporting import Exported, Judge, about_of, choose_format
from volovan.exports.exporting import export as write
from volovan.exports.package import write_package
from volovan.files.folders import new_folder
from volovan.files.nearest import nearest_or_all
from volovan.files.whole import new_file
from volovan.predictor import MOST_AT_ONCE
from volovan.room.ready import Ready
from volovan.room.settings import between, parse_size
from volovan.use.load import WEIGHT_FILES, Named, find_model, open_model, validation_data
from volovan.use.validate import open_labelled, validate

CALIBRATED = 64
"""pictures by which the ranges of int8 are found"""
COMPARED = 4
"""pictures by which a file is compared with its network"""
DRAWN = "shapes"
"""scenes that are drawn, where no pictures are at hand"""
Sources = str | Path | Sequence[str | Path]
KINDS: Mapping[str, tuple[Any, str]] = {
    **dict.fromkeys(("to", "precision"), (str, "a word")),
    "split": (str | None, "a word"),
    **dict.fromkeys(("batch", "limit"), (int | None, "a whole number")),
    "most-lost": (float | int | None, "a number"),
    "out": (str | Path | None, "a path"),
    "data": (str | Path | None, "a path or a word"),
}
"""option -> what it may be, and how that is called"""
OF_GRAPHS = ("size", "batch", "raw", "answers", "precision", "calibrate", "most-lost")
OF_VALIDATION = ("data", "split", "limit")


def export(
    model: str | Path,
    to: str = "onnx",
    out: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    size: Any = None,
    batch: int | None = None,
    raw: bool = False,
    answers: bool = False,
    precision: str = "fp32",
    compare: Sources | None = None,
    calibrate: Sources | None = None,
    data: str | Path | None = None,
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
    answers    it gives probabilities, masks or chosen boxes, for programs that shall make nothing of it; volovan itself
               does not open such a file
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
    if not isinstance(model, str | Path):
        raise SettingsError(
            f"export takes a run folder, a checkpoint or the name of a model, not a {type(model).__name__}; save it "
            "and name the file"
        )
    asked = {"to": to, "out": out, "size": size, "batch": batch, "raw": raw, "answers": answers, "precision": precision,
             "compare": compare, "calibrate": calibrate, "data": data, "split": split, "limit": limit,
             "most-lost": most_lost}  # fmt: skip
    refuse_other_kinds(asked)
    if to not in TO:
        raise SettingsError(f"--to is {to!r}; {nearest_or_all(to, TO)}")
    refuse_unused({key for key, value in asked.items() if value not in (None, False, "fp32")}, to, precision)
    how = choose_format(to, precision) if to in GRAPHS else None
    between("--batch", batch, 1, MOST_AT_ONCE)
    between("--most-lost", most_lost, 0, 100)
    named = find_model(str(model), None if weights is None else str(weights))
    if named.file is not None:
        raise SettingsError(f"{model} is an exported file already; name the run or the model that it was made of")
    work = Work(named, open_model(named))
    suffix = how.suffix if how else ".pth" if to == "original" else ""
    path = Path(out) if out is not None else Path(f"{work.stem}{'' if how else f'_{to}'}{suffix}")
    if how is None:
        refuse_strange(path, to, suffix)
        return work.hand_on(to, path, compare, work.judge(data, split, limit) if to == "package" else None)
    about = about_of(work.ready, raw=raw, size=parse_size(size), batch=batch, answers=answers, precision=precision)
    judge = work.judge(data, split, limit, most_lost) if precision != "fp32" or most_lost is not None else None
    ranges = work.ranges(calibrate) if precision == "int8" else []
    return write(work.ready, how, path, about, work.pictures(compare), ranges, judge)


@dataclass(frozen=True)
class Work:
    """What is exported: what a word names, and the network of it in use."""

    named: Named
    ready: Ready[Any]

    @property
    def stem(self) -> str:
        """How a file is called that is made of it."""
        path = Path(self.named.word)
        return path.name if path.is_dir() else path.stem

    def hand_on(self, to: str, path: Path, compare: Sources | None, judge: Judge | None) -> Path:
        """Weights for others, or a package; nothing is left of one that fails."""
        if to == "original":
            if path.exists():
                raise SettingsError(f"{path} is there already; name another file with --out")
            with new_file(path) as made:
                others.write_original(self.ready, made)
            return path
        with new_folder(path) as folder:
            settings = self.named.settings()
            trained = Path(settings.data.source).name if settings else ""
            if to == "package":
                figures = judge.figures(self.ready) if judge else None
                write_package(self.ready, folder, path.name, self.pictures(compare), trained, figures)
            elif to == "timm":
                others.write_timm(self.ready, folder)
            else:
                others.write_huggingface(self.ready, folder, path.name, trained)
        return path

    def pictures(self, asked: Sources | None) -> list[Image.Image]:
        """A few of those that were asked for, of the validation data, or drawn ones."""
        if asked is not None:
            return self.read(asked, COMPARED)
        try:
            spec, split, _ = validation_data(self.named, None, None)
            return spread(open_source(expand_variables(spec), split, self.ready.kind), COMPARED)
        except (SettingsError, SourceError, BadImage):  # not at hand here, which is no reason not to export
            return self.read(DRAWN, COMPARED)

    def ranges(self, asked: Sources | None) -> list[Image.Image]:
        """Those that were asked for, else of the training data."""
        if asked is not None:
            return self.read(asked, CALIBRATED)
        settings = self.named.settings()
        if settings is None:
            raise SettingsError(
                f"{self.named.word} does not say which pictures it was trained on; name some with --calibrate"
            )
        source = open_source(expand_variables(settings.data.source), settings.data.train_split, self.ready.kind)
        return spread(source, CALIBRATED)

    def read(self, asked: Sources, count: int) -> list[Image.Image]:
        words = [asked] if isinstance(asked, str | Path) else list(asked)
        return spread(open_images(list(map(str, words)), self.ready.kind), count)

    def judge(
        self, data: str | Path | None, split: str | None, limit: int | None, most_lost: float | None = None
    ) -> Judge | None:
        """Validation on the data that were named, or on those of the run; None: there are none."""
        try:
            spec, part, trained = validation_data(self.named, None if data is None else str(data), split)
            source = open_labelled(spec, part, self.ready.kind, trained)
            self.ready.reader(source)  # which says before anything is written that labels do not fit
        except (SettingsError, SourceError):
            if data is not None or most_lost is not None:
                raise
            return None

        def figures(network: Ready[Any]) -> dict[str, float]:
            return validate(network, source, Place(network.device), workers=0, limit=limit).figures

        return Judge(figures, self.ready.goal, most_lost)


def refuse_other_kinds(asked: Mapping[str, Any]) -> None:
    """SettingsError for a value of another kind, which the command line does not let through."""
    for key, (kinds, called) in KINDS.items():
        if not isinstance(asked[key], kinds) or isinstance(asked[key], bool):
            raise SettingsError(f"--{key} is {asked[key]!r}; {called} is expected")
    for key in ("compare", "calibrate"):
        sources = asked[key] or ()
        several = [sources] if isinstance(sources, str) or not isinstance(sources, Sequence) else sources
        if not all(isinstance(one, str | Path) for one in several):
            raise SettingsError(f"--{key} is {sources!r}; a path or a word, or several, are expected")


def refuse_unused(given: Collection[str], to: str, precision: str) -> None:
    """SettingsError for an option that would do nothing; given: those that were said."""
    for key in OF_GRAPHS:
        if key in given and to not in GRAPHS:
            raise SettingsError(f"--{key} is of graphs, not of --to {to}; leave it out")
    for key in OF_VALIDATION:
        if key in given and to != "package" and not {"precision", "most-lost"} & set(given):
            raise SettingsError(f"--{key} is of validation, which weights and files of fp32 do not need; leave it out")
    if "compare" in given and to not in (*GRAPHS, "package"):
        raise SettingsError(f"--compare is of graphs and packages, not of --to {to}; leave it out")
    if "calibrate" in given and precision != "int8":
        raise SettingsError(f"--calibrate is of --precision int8, not of {precision}; leave it out")


def refuse_strange(path: Path, to: str, suffix: str) -> None:
    """SettingsError for a file of weights with the ending of another, or a folder that is named like a file."""
    if suffix and path.suffix != suffix:
        raise SettingsError(f"--out is {path}; weights in the names of the original code end in {suffix}")
    if not suffix and path.suffix in (*FILES, *WEIGHT_FILES):
        raise SettingsError(f"--out is {path}, but --to {to} makes a folder; give a name without {path.suffix}")


def spread(source: Source, count: int) -> list[Image.Image]:
    """So many pictures of a source, evenly; those that cannot be read are left out, and BadImage is raised if that is
    each of them."""
    if not len(source):
        raise SettingsError("the source to compare or calibrate by holds no picture; name another one")
    found: list[Image.Image] = []
    broken: list[BadImage] = []
    for index in spread_indices(len(source), count):
        try:
            found.append(source.load(index))
        except BadImage as error:
            broken.append(error)
    if not found:
        raise broken[0]
    if broken:
        speak(f"left out of {len(found) + len(broken)} pictures to compare or calibrate by: {broken[0]}")
    return found
