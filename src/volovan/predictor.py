"""Predict with a network that `volovan export --to onnx` wrote, without torch and without volovan: copy this file.

    python predictor.py model.onnx photo.jpg other.png --out predictions

    from predictor import Predictor
    network = Predictor("model.onnx")
    answer = network("photo.jpg")              # a dict of numbers, names and arrays, see Predictor
    network.draw("photo.jpg", answer).show()

It needs onnxruntime, numpy and pillow, and answers as `volovan predict` does: pictures are decoded, resized and
normalised in the same way, and the same is made of what the network gives. One file, so that it can be copied; the
networks that look at tiles of large pictures are left to volovan. Licence: Apache-2.0.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageDraw, ImageFile

Size = tuple[int, int]
"""(height, width)"""
Check = Callable[[Any], bool]
"""whether a value can be what it should be"""
KEY = "volovan"
"""under which a file says in its metadata what network it holds"""
SHARED = ("levels",)
"""outputs that pictures have in common"""
PADDED = ("segment", "detect", "panoptic")
"""tasks whose pictures may be smaller than those that a file of one size takes"""


class FileError(ValueError):
    """A file that cannot be used; the sentence says why."""


# The file


class Session:
    """A file that onnxruntime runs. threads: of a CPU; None: as onnxruntime has them.

    metadata  what it says of itself
    inputs, outputs  their names
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise FileError(f"{path} is run by onnxruntime, which is not installed: pip install onnxruntime") from None
        self.path = Path(path)
        refuse_scattered(self.path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what is wrong is said below, once
        if threads is not None and not is_whole(threads, MOST_THREADS):
            raise FileError(f"threads is {threads!r}; a whole number from 1 to {MOST_THREADS} is expected")
        if threads:
            options.intra_op_num_threads = threads
        there = onnxruntime.get_available_providers()
        providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in there]
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # of files that are damaged, of many classes of its own
            raise FileError(
                f"{path} is cut off, damaged or no ONNX file ({one_line(error)}); export or copy it again"
            ) from None
        self.metadata: dict[str, str] = dict(self.session.get_modelmeta().custom_metadata_map)
        self.inputs = [one.name for one in self.session.get_inputs()]
        self.outputs = [one.name for one in self.session.get_outputs()]

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """Its outputs of an input; FileError in one sentence."""
        try:
            found: list[np.ndarray] = self.session.run(None, {self.inputs[0]: images})
        except Exception as error:
            raise FileError(f"{self.path} cannot take an input of {images.shape} ({one_line(error)})") from None
        return found


def refuse_scattered(path: Path) -> None:
    """FileError for a file that is not there, or that has weights in others: it says which, and might say any."""
    content = readable(path)
    # of a tensor whose data are elsewhere the format has an entry "location" with the name of a file, mostly behind it
    entry = re.search(rb"\x0a\x08location(\x12(.))?", content, re.DOTALL)
    if entry:
        other = content[entry.end() : entry.end() + entry[2][0]].decode("utf-8", "replace") if entry[2] else ""
        named = f", {other!r}" if other else ""
        raise FileError(f"{path} has its weights in another file{named}; save the network as one file")


METADATA = 14
"""number of the field of an ONNX file that holds an entry of its metadata: 1 is the key, 2 the value"""


def metadata_of(path: Path) -> str | None:
    """What a file says of its network, read without onnxruntime."""
    try:
        for number, entry in fields(memoryview(readable(path))):
            said = dict(fields(entry)) if number == METADATA else {}
            if said.get(1) == KEY.encode():
                return bytes(said[2]).decode("utf-8", "replace")
    except (EOFError, KeyError):
        raise FileError(f"{path} is cut off, damaged or no ONNX file; export or copy it again") from None
    return None


def fields(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Numbers and contents of what a message of Protocol Buffers consists of; EOFError if that is not all there."""
    at = 0

    def number() -> int:
        nonlocal at
        found = shift = 0
        while at < len(content) and shift < 64:
            byte = content[at]
            found |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return found
        raise EOFError

    while at < len(content):
        key = number()
        begin = at
        if key & 7 == 0:
            number()
        elif key & 7 == 2:
            length = number()
            begin, at = at, at + length
        elif key & 7 in (1, 5):
            at += 8 if key & 7 == 1 else 4
        if at > len(content) or key & 7 not in (0, 1, 2, 5):
            raise EOFError
        yield key >> 3, content[begin:at]


def readable(path: Path) -> bytes:
    """The content of a file, or FileError."""
    try:
        if not path.is_file():
            raise FileError(f"{path} is not there; mend the path")
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror})") from None


# What a file says of its network

FORMAT = "volovan-export-1"
LARGEST = 16_384
"""pixels of a side"""
MOST_THREADS = 1024
MOST_AT_ONCE = 1024
"""pictures of a fixed batch"""


def said_of(text: str | None, path: Path) -> dict[str, Any]:
    """The metadata of a file, without their format; FileError where they are none of ours, or say what nobody wrote."""
    if not text:
        raise FileError(
            f"{path} does not say what network it holds, as files of `volovan export` do; export the network again"
        )
    try:
        found = json.loads(text)
        said = found["said"]
        seen = said["preprocessing"]
        right = (
            found.pop("format") == FORMAT,
            all(isinstance(found[key], bool) for key in ("raw", "answers")),
            found["size"] is None or is_size(found["size"]),
            found["batch"] is None or is_whole(found["batch"], MOST_AT_ONCE),
            is_words(found["outputs"]) and isinstance(said["task"], str) and isinstance(said["config"], dict),
            is_words(said["classes"]),
            is_size(seen["input_size"]),
            is_numbers(seen["mean"], -1e3) and is_numbers(seen["std"], 1e-6) and len(seen["mean"]) == len(seen["std"]),
            seen["interpolation"].upper() in Image.Resampling.__members__ and is_numbers([seen["crop_pct"]], 0.01),
            seen["input_size"][0] * seen["input_size"][1] <= MOST_PIXELS * seen["crop_pct"] ** 2,
            said.get("eval_mode", "center") in ("center", "squash"),
            set(said.get("test", {})) == set(ASKED.get(said["task"], {})),
            all(fits(said["test"][key]) for key, fits in ASKED.get(said["task"], {}).items()),
            said["task"] not in COLOURED or is_palette(said["palette"], len(said["classes"])),
            said["task"] != "panoptic" or [type(one) for one in said["things"]] == [bool] * len(said["classes"]),
            said["task"] != "pose" or is_reading(said["reading"], len(said["classes"])),
            said["task"] != "detect" or isinstance(said["config"]["head"], str),
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise unreadable(path) from None
    if not all(right):
        raise unreadable(path)
    return dict(found)


def unreadable(path: Path) -> FileError:
    return FileError(f"{path} says of its network what this version of volovan cannot read; export the network again")


def is_whole(value: Any, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(is_whole(side, LARGEST) for side in value)


def is_share(value: Any) -> bool:
    """Whether it is a number as scores are."""
    return is_numbers([value], -1e3)


def is_count(value: Any) -> bool:
    return is_whole(value, LARGEST)


def is_scales(value: Any) -> bool:
    return value != [] and is_numbers(value, 1e-3)


def is_sides(value: Any) -> bool:
    """Whether it is a side, or two."""
    return is_count(value) or is_size(value)


def is_palette(value: Any, count: int) -> bool:
    return len(value) == count and all(
        len(colour) == 3 and all(type(part) is int and 0 <= part < 256 for part in colour) for colour in value
    )


def is_reading(value: Any, count: int) -> bool:
    """Whether it says how `count` points are read."""
    skeleton = value["skeleton"]
    ends = [end for line in skeleton["lines"] for end in line]
    return (
        is_size(value["size"])
        and is_numbers([value["padding"]], 0.01)
        and is_flag(value["aligned"])
        and CODING(value["coding"])
        and is_words(skeleton["names"])
        and all(type(end) is int and 0 <= end < count for end in ends)
        and len(ends) == 2 * len(skeleton["lines"])
        and all(type(one) is int for one in skeleton["flips"])
        and sorted(skeleton["flips"]) == list(range(count))
        and len(skeleton["sigmas"]) == count
        and is_numbers(skeleton["sigmas"], 1e-9)
    )


def is_words(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)


def is_numbers(value: Any, least: float, most: float = 1e3) -> bool:
    return isinstance(value, list) and all(type(one) in (int, float) and least <= one <= most for one in value)


def is_flag(value: Any) -> bool:
    return type(value) is bool


def one_of(*words: str) -> Check:
    return lambda value: isinstance(value, str) and value in words


def maybe(check: Check) -> Check:
    """It, or nothing."""
    return lambda value: value is None or check(value)


CODING = one_of("plain", "dark")
COLOURED = ("segment", "panoptic")
ASKED: dict[str, dict[str, Check]] = {
    "segment": {
        "mode": one_of("whole", "slide"), "size": maybe(is_size), "window": is_sides, "stride": is_sides,
        "window_batch": is_count, "scales": is_scales, "flip": is_flag, "multiple": is_count,
    },
    "detect": {
        "size": maybe(is_size), "score": maybe(is_share), "overlap": maybe(is_share), "most": maybe(is_count),
        "batch": is_count, "tile": maybe(is_sides), "tile_overlap": is_share, "shown": is_share,
    },
    "pose": {
        "flip": is_flag, "coding": maybe(CODING), "sure": is_share, "similar": is_share, "batch": is_count,
        "shown": is_share,
    },
    "panoptic": {
        "size": maybe(is_size), "score": is_share, "visible": is_share, "most": is_count, "shown": is_share,
        "batch": is_count,
    },
}  # fmt: skip
"""task -> what a file says of how pictures are looked at -> whether it can be that"""


def refuse_unfit(path: Path | str, task: str, classes: Sequence[str], named: dict[str, Any]) -> None:
    """FileError where outputs of a file do not fit its classes, or are not finite. named: arrays or tensors by name."""
    for name, axis, more in CLASS_AXES.get(task, ()):
        if name in named and (named[name].ndim <= axis or named[name].shape[axis] != len(classes) + more):
            raise FileError(
                f"{path} names {len(classes)} classes, but gives {name} of {tuple(named[name].shape)}; export the "
                "network again"
            )
    for name, values in named.items():
        if not abs(float(values.sum())) < float("inf"):
            raise FileError(f"{path} gives {name} that are not finite; look at the weights that it was made of")


CLASS_AXES = {
    "classify": (("logits", 1, 0),),
    "segment": (("logits", 1, 0),),
    "pose": (("heat_maps", 1, 0),),
    "panoptic": (("classes", 2, 1),),
    "detect": (("logits", 2, 0),),
}
"""task -> (output, its axis of classes, how many more it has than there are classes)"""


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


# The network


class Predictor:
    """A network in use. Called with a picture (path, bytes, PIL image, or array (H, W, 3) uint8) it gives a dict:

        classify   "top": [{"class", "number", "probability"}], or "labels", or "values": {name: number}
        segment    "mask" (H, W) uint8, numbers of "classes"
        saliency   "map" (H, W) uint8
        detect     "boxes" (N, 4) x1, y1, x2, y2, "scores" (N,), "labels" (N,), "names", and "masks" (N, H, W) bool
        pose       "points" (N, K, 3) x, y, how sure, "scores" (N,), "boxes" (N, 4)
        panoptic   "ids" (H, W) int32, 0 where nothing is sure, "segments": [{"id", "class", "label", "score"}]

    threads  of a CPU; None: as onnxruntime has them
    raises   FileError: the file, or the picture, cannot be used
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        self.session = Session(path, threads)
        about = said_of(self.session.metadata.get(KEY), Path(path))
        if about["outputs"] != self.session.outputs:
            raise FileError(
                f"{path} gives {', '.join(self.session.outputs)} where its metadata name "
                f"{', '.join(about['outputs'])}; export the network again"
            )
        try:
            self.said: dict[str, Any] = about["said"]
            self.task: str = self.said["task"]
            self.raw, self.size, self.batch = about["raw"], about["size"], about["batch"]
            self.outputs: list[str] = about["outputs"]
            self.classes: list[str] = self.said["classes"]
            self.seen: dict[str, Any] = self.said["preprocessing"]
            self.test: dict[str, Any] = self.said.get("test", {})
            self._answer: Callable[..., dict[str, Any]] = ANSWERS[self.task]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise unreadable(Path(path)) from None
        if about.get("answers"):
            raise FileError(f"{path} gives answers itself; run it with onnxruntime, or export it without --answers")
        if self.test.get("tile"):
            raise FileError(f"{path} looks at tiles of a picture; take volovan predict for it")

    def __call__(self, picture: Any, **how: Any) -> dict[str, Any]:
        """how: boxes (N, 4) in which pose looks for points; top and threshold of classes; score of objects."""
        return self._answer(self, decode(picture), **how)

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """(B, H, W, 3), values 0 to 255 -> what the file gives, of smaller pictures than it takes with the padding."""
        if self.size and list(images.shape[1:3]) != list(self.size):
            images = self.padded(images)
        if self.raw:
            images = np.clip(np.round(images), 0, 255).astype(np.uint8)
        else:
            images = self.normalised(images)
        found = self.run_batches(images)
        refuse_unfit(self.session.path, self.task, self.classes, dict(zip(self.outputs, found, strict=True)))
        return found

    def run_batches(self, images: np.ndarray) -> list[np.ndarray]:
        """As the file takes them, so many at once as it takes."""
        if not self.batch:
            return self.session.run(images)
        parts = []
        for first in range(0, len(images), self.batch):
            part = images[first : first + self.batch]
            filled = np.concatenate([part, np.repeat(part[-1:], self.batch - len(part), axis=0)])
            own = zip(self.outputs, self.session.run(filled), strict=True)
            parts.append([found if name in SHARED else found[: len(part)] for name, found in own])
        every = zip(self.outputs, zip(*parts, strict=True), strict=True)
        return [found[0] if name in SHARED else np.concatenate(found) for name, found in every]

    def padded(self, images: np.ndarray) -> np.ndarray:
        """Below and to the right, by the mean colour, to the size of the file; FileError for what does not fit."""
        (height, width), (high, wide) = self.size, images.shape[1:3]
        if self.task not in PADDED or high > height or wide > width:
            raise FileError(
                f"the network takes pictures of {height} x {width} only, this one is seen at {high} x {wide}; export "
                "it without --size"
            )
        found = np.empty((len(images), height, width, 3), np.float32)
        found[:] = 255 * np.asarray(self.seen["mean"], np.float32)
        found[:, :high, :wide] = images
        return found

    def normalised(self, images: np.ndarray) -> np.ndarray:
        """(B, 3, H, W) float32."""
        mean, std = (np.float32(255) * np.asarray(self.seen[name], np.float32) for name in ("mean", "std"))
        return np.ascontiguousarray(((images.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2))

    def draw(self, picture: Any, answer: dict[str, Any]) -> Image.Image:
        """The picture with the answer on it."""
        return draw(decode(picture), answer)


# Pictures

MOST_PIXELS = 178_956_970
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "QOI")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes it upright"""


def decode(picture: Any) -> Image.Image:
    """Any picture to RGB, 8 bits, upright, transparent parts on white; FileError in one sentence."""
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise FileError(f"the array is {picture.dtype} of shape {picture.shape}; (height, width, 3) uint8 is taken")
        return Image.fromarray(picture)
    if isinstance(picture, Image.Image):
        return as_rgb(picture)
    import io

    name = str(picture) if isinstance(picture, str | Path) else "the picture"
    try:
        if isinstance(picture, str | Path) and not Path(picture).is_file():
            if Path(picture).is_dir():
                raise FileError(f"{name} is a folder; name the pictures in it")
            raise FileError(f"{name} is not there; mend the path")
        content = Path(picture).read_bytes() if isinstance(picture, str | Path) else bytes(picture)
        Image.init()
        lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        try:
            with Image.open(io.BytesIO(content), formats=[one for one in FORMATS if one in Image.OPEN]) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise FileError(f"{name} has {image.width} x {image.height} pixels; make it smaller")
                image.load()
                return as_rgb(image)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = lenient
    except FileError:
        raise
    except Exception as error:  # damaged files raise nearly anything
        raise FileError(f"{name} is damaged, cut off or no picture ({one_line(error)})") from None


def as_rgb(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # a damaged block says nothing of the picture
        orientation = 1
    flat = flat_rgb(image)
    turn = TURNS.get(orientation if isinstance(orientation, int) else 1)
    return flat if turn is None else flat.transpose(turn)


def flat_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):  # 16 bits: white stays white
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise FileError("32-bit grey values, of which it is unknown where white lies; save it with 16 bits")
        return Image.fromarray(np.round(values.astype(np.float32) / 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 255):
            raise FileError("float grey values, expected 0 to 1 or 0 to 255; rescale and save again")
        return Image.fromarray(np.round(values * (255 if values.max() <= 1 else 1)).astype(np.uint8)).convert("RGB")
    if image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        found = ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, inMode="LAB", outMode="RGB"))
        assert found is not None
        return found
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        return canvas.convert("RGB")
    return image.convert("RGB")


def bounded(size: Size, least: int = 1) -> Size:
    """A picture that is thinner than 1 to 32: its longer side cut to that."""
    longest = 32 * max(least, min(size))
    return min(size[0], longest), min(size[1], longest)


def factor_into(size: Size, sides: Sequence[int] | None, frame: Sequence[int] | None) -> float:
    """By which a picture is scaled to fit into a long and a short side, or as it lies into the frame of a file."""
    if frame:
        return min(frame[0] / size[0], frame[1] / size[1])
    return min(max(sides) / max(size), min(sides) / min(size)) if sides else 1.0


def fitted(net: Predictor, picture: Image.Image) -> np.ndarray:
    """(h, w, 3) uint8: scaled to fit."""
    width, height = picture.size
    factor = factor_into((height, width), net.test["size"], net.size)
    size = bounded((max(1, round(width * factor)), max(1, round(height * factor))), 32)
    return np.asarray(picture if size == picture.size else picture.resize(size, Image.Resampling.BILINEAR))


def weights(size: int, source: int, smooth: bool = False) -> np.ndarray:
    """(size, source): bilinear, corners not aligned, as torch has it; smooth: a triangle over what it shrinks."""
    scale, place = source / size, np.arange(source)
    middle = scale * (np.arange(size) + 0.5)
    if smooth and scale > 1:
        first = np.maximum((middle - scale + 0.5).astype(int), 0)[:, None]
        last = np.minimum((middle + scale + 0.5).astype(int), source)[:, None]
        found = np.maximum(0, 1 - np.abs((place - middle[:, None] + 0.5) / scale)) * ((place >= first) & (place < last))
    else:
        middle = np.clip(middle - 0.5, 0, source - 1)
        found = np.maximum(0, 1 - np.abs(place - middle[:, None]))
    return (found / found.sum(axis=1, keepdims=True)).astype(np.float32)


def resized(maps: np.ndarray, size: Size, smooth: bool = False) -> np.ndarray:
    """(..., h, w) float32 -> (..., H, W)."""
    if maps.shape[-2] != size[0]:
        maps = weights(size[0], maps.shape[-2], smooth) @ maps
    if maps.shape[-1] != size[1]:
        maps = maps @ weights(size[1], maps.shape[-1], smooth).T
    return maps


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(values / 2))


def softmax(values: np.ndarray, axis: int) -> np.ndarray:
    found = np.exp(values - values.max(axis=axis, keepdims=True))
    return np.asarray(found / found.sum(axis=axis, keepdims=True))


# Classes of a picture


def classify(net: Predictor, picture: Image.Image, top: int = 5, threshold: float = 0.5) -> dict[str, Any]:
    logits: np.ndarray = net.run(view(net, picture)[None])[0][0].astype(np.float64)
    target = net.said.get("target")
    if target and target["kind"] == "regression":
        values = logits * np.asarray(target["std"]) + np.asarray(target["mean"])
        return {"values": dict(zip(net.classes, values.tolist(), strict=True))}
    sure = sigmoid(logits) if target else softmax(logits, 0)
    order = np.argsort(-sure, kind="stable")
    chosen = [n for n in order if sure[n] >= threshold] if target else order[:top]
    listed = [{"class": net.classes[n], "number": int(n), "probability": float(sure[n])} for n in chosen]
    return {"labels" if target else "top": listed}


def view(net: Predictor, picture: Image.Image) -> np.ndarray:
    """What the network sees: the centre of the picture, or all of it squashed."""
    high, wide = net.size or net.seen["input_size"]
    resample = Image.Resampling[net.seen["interpolation"].upper()]
    if net.said.get("eval_mode") == "squash":
        return np.asarray(picture if picture.size == (wide, high) else picture.resize((wide, high), resample))
    longest = 32 * min(picture.size) * max(high, wide) // min(high, wide)
    if max(picture.size) > longest:
        height, width = min(picture.height, longest), min(picture.width, longest)
        return view(net, cut(picture, height, width))
    height, width = (int(side / net.seen["crop_pct"]) for side in (high, wide))
    if height * picture.width <= width * picture.height:
        height = int(width * picture.height / picture.width)
    else:
        width = int(height * picture.width / picture.height)
    size = max(1, width), max(1, height)
    return np.asarray(cut(picture if size == picture.size else picture.resize(size, resample), high, wide))


def cut(picture: Image.Image, height: int, width: int) -> Image.Image:
    """Its centre; black where it lies outside."""
    top, left = (
        round((side - crop) / 2) if crop <= side else -((crop - side) // 2)
        for crop, side in ((height, picture.height), (width, picture.width))
    )
    return picture.crop((left, top, left + width, top + height))


# Classes of pixels


def segment(net: Predictor, picture: Image.Image) -> dict[str, Any]:
    pixels, size = np.asarray(picture, np.float32).transpose(2, 0, 1), (picture.height, picture.width)
    mask = mask_of(net, pixels, size)
    return {"mask": mask, "classes": net.classes, "palette": net.said["palette"]}


def mask_of(net: Predictor, pixels: np.ndarray, size: Size) -> np.ndarray:
    wide = bounded(size, 32)
    if wide != size:
        mask = mask_of(net, resized(pixels, wide, smooth=True), wide)
        rows, columns = (np.arange(n) * m // n for n, m in zip(size, wide, strict=True))
        return mask[rows[:, None], columns]
    views = [resized(one, size) for one in views_of(net, pixels, size)]
    if len(views) == 1:
        return views[0].argmax(0).astype(np.uint8)
    return sum(softmax(one, 0) for one in views).argmax(0).astype(np.uint8)  # type: ignore[union-attr]


def views_of(net: Predictor, pixels: np.ndarray, size: Size) -> Iterator[np.ndarray]:
    """Logits (K, h, w) at each scale, mirrored or not."""
    test = net.test
    for scale in test["scales"]:
        frame = net.size if test["mode"] != "slide" else None
        sides = frame or test["size"]
        scaled_sides = [int(side * scale) for side in sides] if sides else None
        factor = factor_into(size, scaled_sides, scaled_sides if frame else None) if sides else scale
        down, across = (-(-max(1, int(side * factor + 0.5)) // test["multiple"]) * test["multiple"] for side in size)
        if frame:
            down, across = min(down, frame[0]), min(across, frame[1])
        scaled = resized(pixels, (down, across), smooth=down < size[0] or across < size[1])
        yield windows(net, scaled)
        if test["flip"]:
            yield windows(net, scaled[:, :, ::-1])[:, :, ::-1]


def windows(net: Predictor, pixels: np.ndarray) -> np.ndarray:
    """Logits (K, h, w) of a picture, from windows that overlap where the test says so."""
    size: Size = pixels.shape[1], pixels.shape[2]
    sides, steps = ((one, one) if isinstance(one, int) else one for one in (net.test["window"], net.test["stride"]))
    if net.test["mode"] != "slide":
        sides = steps = size
    elif net.size:
        steps = [max(1, step * own // side) for step, own, side in zip(steps, net.size, sides, strict=True)]
        sides = net.size
    high, wide = min(sides[0], size[0]), min(sides[1], size[1])
    tops, lefts = (
        [min(n * step, side - window) for n in range(-(-(side - window) // step) + 1)]
        for side, window, step in zip(size, (high, wide), steps, strict=True)
    )
    padded = whole(high), whole(wide)
    total, seen = np.zeros((1, 1, 1), np.float32), np.zeros(size, np.float32)
    for top in tops:
        for left in lefts:
            part = pixels[None, :, top : top + high, left : left + wide].transpose(0, 2, 3, 1)
            maps = net.run(part)[0][0]
            if net.size:  # of the picture without its padding
                stride = whole(net.size[0]) // maps.shape[1]
                maps = maps[:, : padded[0] // stride, : padded[1] // stride]
            logits = resized(maps, padded)[:, :high, :wide]
            if total.shape[0] == 1:
                total = np.zeros((len(logits), *size), np.float32)
            total[:, top : top + high, left : left + wide] += logits
            seen[top : top + high, left : left + wide] += 1
    return total / seen


def whole(side: int) -> int:
    """As the network pads it."""
    return side + -side % 32


# The object of a picture


def salient(net: Predictor, picture: Image.Image) -> dict[str, Any]:
    high, wide = net.size or net.seen["input_size"]
    seen = picture if picture.size == (wide, high) else picture.resize((wide, high), Image.Resampling.BILINEAR)
    logits = net.run(np.asarray(seen)[None])[0][0, 0]
    return {"map": np.round(255 * resized(sigmoid(logits), (picture.height, picture.width))).astype(np.uint8)}


# Objects


def detect(net: Predictor, picture: Image.Image, score: float | None = None) -> dict[str, Any]:
    pixels = fitted(net, picture)
    seen: Size = pixels.shape[0], pixels.shape[1]
    found = dict(zip(net.session.outputs, (one[0] if one.ndim > 1 else one for one in net.run(pixels[None])),
                     strict=True))  # fmt: skip
    boxes, scores, labels, masks = chosen(net, found, seen, score)
    sure = scores >= (net.test["shown"] if score is None else score)
    boxes, scores, labels = boxes[sure].astype(np.float64), scores[sure].astype(np.float64), labels[sure]
    height, width = picture.height, picture.width
    boxes = boxes * np.array([width / seen[1], height / seen[0]] * 2)
    boxes = boxes.clip(0, (width, height, width, height))
    answer = {"boxes": boxes, "scores": scores, "labels": labels, "names": [net.classes[n] for n in labels]}
    if masks is not None:
        answer["masks"] = np.array(
            [pasted(box, own, (height, width)) for box, own in zip(boxes, masks[sure], strict=True)], bool
        ).reshape(-1, height, width)
    return answer


def chosen(
    net: Predictor, found: dict[str, np.ndarray], seen: Size, score: float | None = None
) -> tuple[Any, Any, Any, Any]:
    """Boxes, scores, classes and masks or None, of what the file gives, the surest first.

    score  from which on they are wanted, where that is less than the network was validated with
    """
    head, test = net.said["config"]["head"], net.test
    most = test["most"] or (len(found["boxes"]) if head == "sparse_rcnn" else 100)
    limit = np.array([seen[1], seen[0]] * 2, np.float32)
    if "labels" in found:  # the file has chosen itself
        boxes = np.clip(found["boxes"], 0, limit)
        there = (found["scores"] > 0) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return boxes[there], found["scores"][there], found["labels"][there], mask_part(found, there)
    if head == "sparse_rcnn":
        sure = sigmoid(found["logits"]).reshape(-1)
        order = np.argsort(-sure, kind="stable")[: len(found["boxes"])]
        order = order[sure[order] > (test["score"] or 0.0)]
        rows, labels = np.divmod(order, found["logits"].shape[1])
        return kept(np.clip(found["boxes"][rows], 0, limit), sure[order], labels, test["overlap"] or 1.0, most)
    usual = 0.05 if test["score"] is None else test["score"]
    least = usual if score is None else min(usual, score)
    overlap = test["overlap"] or (0.5 if head == "retinanet" else 0.6)
    parts = []
    for level in range(int(found["levels"].max()) + 1):
        own = np.flatnonzero(found["levels"] == level)
        rows, labels = np.nonzero(found["scores"][own] > least)
        sure = found["scores"][own][rows, labels]
        order = np.argsort(-sure, kind="stable")[:1000]
        rows = own[rows[order]]
        clipped = np.clip(found["boxes"][rows], 0, limit)
        parts.append((clipped, sure[order] * found["factors"][rows], labels[order]))
    boxes, scores, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return kept(boxes, scores, labels, overlap, most)


def mask_part(found: dict[str, np.ndarray], there: np.ndarray) -> np.ndarray | None:
    return found["masks"][there] if "masks" in found else None


def kept(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, overlap: float, most: int) -> tuple[Any, ...]:
    """Non-maximum suppression within each class."""
    area = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    boxes, scores, labels = boxes[area], scores[area], labels[area]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    order = np.argsort(-scores, kind="stable")
    left: list[int] = []
    while len(order) and len(left) < most:
        best, order = order[0], order[1:]
        left.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        shared = np.maximum(np.minimum(boxes[best, 2:], boxes[order, 2:]) - low, 0).prod(axis=1)
        iou = shared / (areas[best] + areas[order] - shared)
        order = order[(iou <= overlap) | (labels[order] != labels[best])]
    return boxes[left], scores[left], labels[left], None


def pasted(box: np.ndarray, own: np.ndarray, size: Size) -> np.ndarray:
    """(H, W) bool: a map (S, S) stretched over its box, where it is at least 0.5."""
    sides = []
    for low, high, cells, side in ((box[1], box[3], own.shape[0], size[0]), (box[0], box[2], own.shape[1], size[1])):
        first, end = (min(max(int(at), 0), side) for at in (np.floor(low), np.ceil(high)))
        places = (np.arange(first, end) + 0.5 - low) / max(high - low, 1e-9) * cells - 0.5
        sides.append((first, np.maximum(0, 1 - np.abs(places[:, None] - np.arange(cells))).astype(np.float32)))
    (top, down), (left, across) = sides
    mask = np.zeros(size, bool)
    mask[top : top + len(down), left : left + len(across)] = down @ (own.astype(np.float32) @ across.T) >= 0.5
    return mask


# Points of objects


def pose(net: Predictor, picture: Image.Image, boxes: Any = None) -> dict[str, Any]:
    """boxes (N, 4): where objects are; None: the picture is one."""
    reading, test = net.said["reading"], net.test
    wide, high = picture.size
    given = np.array([[0, 0, wide, high]] if boxes is None else boxes, np.float64).reshape(-1, 4)
    if not np.isfinite(given).all() or not (given[:, 2:] > given[:, :2]).all():
        raise FileError(f"boxes are {given.tolist()}; rows of x1, y1, x2, y2 with x1 < x2 and y1 < y2 are expected")
    given = given.clip(0, (wide, high, wide, high))
    points, areas = np.zeros((len(given), len(net.classes), 3)), np.zeros(len(given))
    for number, box in enumerate(given.tolist()):
        matrix, crop, areas[number] = cropped(picture, box, net.size or reading["size"], reading["padding"])
        maps = net.run(crop[None])[0].astype(np.float32)
        if test["flip"]:
            other = net.run(crop[None, :, ::-1])[0][:, reading["skeleton"]["flips"], :, ::-1]
            if not reading["aligned"]:
                other = np.concatenate((other[..., :1], other[..., :-1]), axis=-1)
            maps = (maps + other) / 2
        places, sure = peaks(maps[0], test["coding"] or reading["coding"])
        places = (places + 0.5) * 4 if reading["aligned"] else places * 4 + 0.5
        back = (places - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
        points[number] = np.column_stack((back, np.clip(sure, 0, 1)))
    known = points[:, :, 2] > test["sure"]
    scores = np.where(known, points[:, :, 2], 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    order = apart(points, scores, areas, reading["skeleton"]["sigmas"], test["similar"])
    lines = reading["skeleton"].get("lines", [])
    return {"points": points[order], "scores": scores[order], "boxes": given[order], "names": net.classes,
            "lines": lines, "shown": test["shown"]}  # fmt: skip


def cropped(picture: Image.Image, box: Sequence[float], size: Size, padding: float) -> tuple[Any, np.ndarray, float]:
    """(2, 3) from the picture to the crop around a box, its pixels, and its area in the picture."""
    x1, y1, x2, y2 = box
    shape = size[1] / size[0]
    width, height = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
    width, height = padding * max(width, height * shape), padding * max(height, width / shape)
    scale = size[1] / width
    shift = np.array([size[1] / 2, size[0] / 2]) - scale * np.array([(x1 + x2) / 2, (y1 + y2) / 2])
    matrix = np.column_stack((scale * np.eye(2), shift))
    back = np.column_stack((np.eye(2) / scale, -shift / scale))
    seen = picture.transform(
        (size[1], size[0]), Image.Transform.AFFINE, back.ravel().tolist(), Image.Resampling.BILINEAR
    )
    return matrix, np.asarray(seen), width * height


def peaks(maps: np.ndarray, coding: str) -> tuple[np.ndarray, np.ndarray]:
    """(K, h, w) -> (K, 2) columns and rows, both real, and the (K,) largest values."""
    count, high, wide = maps.shape
    numbers = maps.reshape(count, -1).argmax(axis=1)
    scores, whole = maps.reshape(count, -1).max(axis=1), np.column_stack((numbers % wide, numbers // wide))

    def at(values: np.ndarray, across: int, down: int) -> np.ndarray:
        columns = np.clip(whole[:, 0] + across, 0, wide - 1)
        return values[np.arange(count), np.clip(whole[:, 1] + down, 0, high - 1), columns]

    after = 1 if coding == "plain" else 2
    inside = np.all((whole >= 2) & (whole < np.array([wide - after, high - after])), axis=1)
    if coding == "plain":
        slopes = np.column_stack((at(maps, 1, 0) - at(maps, -1, 0), at(maps, 0, 1) - at(maps, 0, -1)))
        return whole + 0.25 * np.sign(slopes) * inside[:, None], scores
    logs = np.log(np.maximum(smoothed(maps), 1e-10))
    dx, dy = (at(logs, 1, 0) - at(logs, -1, 0)) / 2, (at(logs, 0, 1) - at(logs, 0, -1)) / 2
    dxx = (at(logs, 2, 0) - 2 * at(logs, 0, 0) + at(logs, -2, 0)) / 4
    dyy = (at(logs, 0, 2) - 2 * at(logs, 0, 0) + at(logs, 0, -2)) / 4
    dxy = (at(logs, 1, 1) - at(logs, -1, 1) - at(logs, 1, -1) + at(logs, -1, -1)) / 4
    bent = dxx * dyy - dxy * dxy
    safe = inside & (bent != 0)
    bent = np.where(safe, bent, 1)
    step = np.column_stack((dxy * dy - dyy * dx, dxy * dx - dxx * dy)) / bent[:, None]
    return whole + np.where(safe[:, None], step, 0), scores


def smoothed(maps: np.ndarray) -> np.ndarray:
    """By a Gaussian of 11 pixels; the largest value of each map stays what it is."""
    kernel = np.exp(-((np.arange(11, dtype=np.float32) - 5) ** 2) / (2 * 2.0**2))
    kernel /= kernel.sum()
    found = maps
    for axis in (1, 2):
        padded = np.pad(found, [(0, 0), (5, 5), (0, 0)] if axis == 1 else [(0, 0), (0, 0), (5, 5)])
        length = found.shape[axis]
        found = sum(k * np.take(padded, range(n, n + length), axis) for n, k in enumerate(kernel))
    before, after = (some.max(axis=(1, 2), keepdims=True) for some in (maps, found))
    return np.asarray(found * before / np.maximum(after, 1e-10))


def apart(points: np.ndarray, scores: np.ndarray, areas: np.ndarray, sigmas: Any, most: float) -> list[int]:
    """Numbers of objects, the surest first; of two that are more similar than `most` the surer one."""
    order, left = np.argsort(-scores, kind="stable").tolist(), list[int]()
    variances = (2 * np.array(sigmas)) ** 2
    while order:
        best, *order = order
        left.append(best)
        if most < 1 and order:
            both = (areas[best] + areas[order]) / 2
            away = np.square(points[best, :, :2] - points[order][:, :, :2]).sum(axis=-1)
            alike = np.exp(-away / variances / (both[:, None] + np.spacing(1)) / 2).mean(axis=1)
            order = [number for number, own in zip(order, alike, strict=True) if own <= most]
    return left


# Segments


def panoptic(net: Predictor, picture: Image.Image) -> dict[str, Any]:
    pixels, size, test = fitted(net, picture), (picture.height, picture.width), net.test
    classes, masks = (one[0] for one in net.run(pixels[None]))
    shares = softmax(classes.astype(np.float32), 1)
    labels, scores = shares.argmax(axis=1), shares.max(axis=1)
    good = np.flatnonzero((scores > test["score"]) & (labels != shares.shape[1] - 1))
    answer: dict[str, Any] = {"ids": np.zeros(size, np.int32), "segments": [], "palette": net.said["palette"]}
    if not len(good):
        return answer
    frame = masks.shape[1] * 4, masks.shape[2] * 4
    stretched = [resized(resized(masks[n], frame)[: pixels.shape[0], : pixels.shape[1]], size) for n in good]
    p = np.stack([sigmoid(one) for one in stretched])
    best = (p * scores[good, None, None]).argmax(axis=0)
    stuff: dict[int, int] = {}
    for place, query in enumerate(good.tolist()):
        mine, inside, label = best == place, p[place] >= 0.5, int(labels[query])
        visible = mine & inside
        if not visible.any() or mine.sum() / inside.sum() < test["visible"]:
            continue
        number = stuff.get(label, 0)
        if number and not net.said["things"][label]:
            segment_ = answer["segments"][number - 1]
            segment_["score"] = max(segment_["score"], float(scores[query]))
        else:
            stuff[label] = number = len(answer["segments"]) + 1
            answer["segments"].append(
                {"id": number, "class": net.classes[label], "label": label, "score": float(scores[query])}
            )
        answer["ids"][visible] = number
    return answer


ANSWERS: dict[str, Callable[..., dict[str, Any]]] = {
    "classify": classify,
    "segment": segment,
    "saliency": salient,
    "detect": detect,
    "pose": pose,
    "panoptic": panoptic,
}


# Drawings and the command line

DRAWN = "drawn"
"""key of a row: the picture of the answer"""
Colour = tuple[int, int, int]
COLOURS: list[Colour] = [
    (66, 135, 245),
    (245, 66, 66),
    (60, 190, 90),
    (240, 170, 30),
    (160, 80, 220),
    (30, 190, 200),
    (230, 90, 170),
]


def draw(picture: Image.Image, answer: dict[str, Any]) -> Image.Image:
    shown: np.ndarray = np.asarray(picture, np.float32)
    if "mask" in answer:
        shown = shown / 2 + np.asarray(answer["palette"], np.float32)[answer["mask"]] / 2
    elif "map" in answer:
        share = answer["map"][..., None].astype(np.float32) / 255
        shown = shown * share + (255 + shown) / 2 * (1 - share)
    elif "ids" in answer:
        colours = [[255, 255, 255], *(answer["palette"][one["label"]] for one in answer["segments"])]
        shown = shown / 2 + np.asarray(colours, np.float32)[answer["ids"]] / 2
    for number, mask in enumerate(answer.get("masks", ())):
        shown = np.where(mask[..., None], shown / 2 + np.array(COLOURS[number % len(COLOURS)]) / 2, shown)
    made = Image.fromarray(np.clip(shown, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(made)
    line = max(2, max(made.size) // 300)
    for number, box in enumerate(answer.get("boxes", np.zeros((0, 4))).tolist()):
        colour = COLOURS[number % len(COLOURS)]
        pen.rectangle(box, outline=colour, width=line)
        if "labels" in answer:
            label(pen, (box[0], box[1]), f"{answer['names'][number]} {answer['scores'][number]:.2f}", colour)
        for x, y, sure in answer["points"][number].tolist() if "points" in answer else ():
            if sure >= answer["shown"]:
                pen.ellipse((x - line, y - line, x + line, y + line), fill=colour, outline="white")
    said = [f"{100 * one['probability']:.0f} % {one['class']}" for one in answer.get("top", answer.get("labels", ()))
            if isinstance(one, dict)]  # fmt: skip
    said += [f"{name}: {value:.4g}" for name, value in answer.get("values", {}).items()]
    said += [f"{one['class']} {one['score']:.2f}" for one in answer.get("segments", ())]
    for number, text in enumerate(said[:8]):
        label(pen, (4, 4 + 16 * number), text, (40, 40, 40))
    return made


def label(pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, colour: Colour) -> None:
    pen.rectangle(pen.textbbox(place, text), fill=colour)
    pen.text(place, text, fill="white")


def row(answer: dict[str, Any]) -> dict[str, Any]:
    """What fits into a line of JSON: of arrays as large as the picture their size."""
    found = {}
    for name, value in answer.items():
        if isinstance(value, np.ndarray):
            value = list(value.shape) if name in ("mask", "map", "ids", "masks") else value.tolist()
        if name not in ("palette", "classes", "lines", "shown"):
            found[name] = value
    return found


def drawn_in(table: Path) -> list[str]:
    """The pictures that an earlier call has drawn beside its table, whose last line a kill may have torn; FileError for
    a table of somebody else."""
    if not table.exists():
        return []
    try:
        *whole_lines, rest = table.read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in whole_lines]
        if rest and not rest.startswith('{"file": '):
            raise ValueError
        return [Path(row[DRAWN]).name for row in rows if row["file"] and DRAWN in row]
    except (ValueError, KeyError, TypeError):
        raise FileError(f"{table} was not written by this program; name another folder with --out") from None


def main(words: Sequence[str] | None = None) -> int:
    """1: some picture could not be read; 2: nothing could be done."""
    parser = argparse.ArgumentParser(description="Predict with a network that volovan exported to ONNX.")
    parser.add_argument("model", help="a file of volovan export --to onnx")
    parser.add_argument("pictures", nargs="+", help="files")
    parser.add_argument("--out", default="predictions", help="folder of predictions.jsonl and drawn pictures")
    parser.add_argument("--threads", type=int, help="of a CPU; default: as onnxruntime has them")
    args = parser.parse_args(words)
    folder = Path(args.out)
    table = folder / "predictions.jsonl"
    try:
        network = Predictor(args.model, args.threads)
        own = drawn_in(table)
        names = [f"{number:04d}_{Path(name).stem}.png" for number, name in enumerate(args.pictures)]
        taken = next((name for name in names if name not in own and (folder / name).exists()), None)
        if taken is not None:
            raise FileError(f"{folder / taken} is there, and not of this program; name another folder with --out")
        for name in own:
            (folder / name).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        failed = 0
        with table.open("w", encoding="utf-8", errors="backslashreplace") as file:  # of names that are no text
            for name, drawn in zip(args.pictures, names, strict=True):
                try:
                    picture = decode(name)
                    answer = network(picture)
                except FileError as error:
                    failed += 1
                    print(error, file=sys.stderr)
                    said: dict[str, Any] = {"error": str(error)}
                else:
                    said = {**row(answer), DRAWN: drawn}
                    draw(picture, answer).save(folder / drawn)
                print(json.dumps({"file": name, **said}, ensure_ascii=False), file=file)
    except (FileError, OSError) as error:
        print(f"predictor: {error}", file=sys.stderr)
        return 2
    print(f"{len(args.pictures) - failed} pictures predicted, {failed} could not be read; wrote {folder}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
