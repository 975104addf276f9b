"""OpenVINO: made of the ONNX file; an .xml, which says what the network is, and a .bin with its weights beside it."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from torch import Tensor

from volovan.exports import to_onnx
from volovan.exports.about import KEY, About, ExportError
from volovan.exports.onnx_precision import module_of
from volovan.exports.quiet import quiet
from volovan.exports.sensitive import NONE, Calibration
from volovan.files.whole import new_file
from volovan.room.cut import CutOff, Run

WITHOUT_BIAS = "/WithoutBiases"
"""how OpenVINO calls a layer of ONNX whose bias it adds in an operation of its own"""


def write(part: CutOff, path: Path, about: About, calibration: Calibration = NONE) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "network.onnx"
        to_onnx.write(part, source, replace(about, precision="fp32"))
        model = openvino.convert_model(source)
        if about.precision.startswith("int8"):
            model = in_bytes(model, source, about, calibration)
        save(model, path, about)


def in_bytes(model: Any, source: Path, about: About, calibration: Calibration) -> Any:
    """Weights of 8 bits, and of "int8" sums too, but for the layers that cost most (`sensitive.py`); by NNCF.

    source  the ONNX file that the model was made of, whose names it has
    """
    import nncf
    from openvino._offline_transformations import compress_quantize_weights_transformation

    if about.precision == "int8-weights":
        with quiet():
            return nncf.compress_weights(model)
    import onnx

    nodes = [node for node in onnx.load(source).graph.node if module_of(node) in calibration.spared]
    known = {operation.get_friendly_name() for operation in model.get_ops()}
    called = {f"{name}{more}" for node in nodes for name in (node.name, *node.output) for more in ("", WITHOUT_BIAS)}
    names = sorted(called & known)
    scope = nncf.IgnoredScope(names=names) if names else None
    data = nncf.Dataset([pictures.numpy() for pictures in calibration.pictures])
    with quiet():
        made = nncf.quantize(model, data, subset_size=len(calibration.pictures), ignored_scope=scope)
    compress_quantize_weights_transformation(made)  # which are kept in float beside their scales until then
    return made


def save(model: Any, path: Path, about: About) -> None:
    """Both files; without its weights the .xml is refused, so these come first."""
    import openvino

    model.set_rt_info(about.text(), [KEY])
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "network.xml"
        openvino.save_model(model, made, compress_to_fp16=about.precision == "fp16")
        for file in (weights_of(path), path):
            with new_file(file) as part:
                shutil.copyfile(made.with_suffix(file.suffix), part)


def weights_of(path: Path) -> Path:
    return path.with_suffix(".bin")


def read_about(path: Path) -> About:
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ExportError(f"{path} is cut off, damaged or no file of OpenVINO ({error}); export it again") from None
    said = root.find(f"rt_info/{KEY}")
    return About.read(None if said is None else said.get("value"), path)


def refuse_cut(path: Path) -> None:
    """ExportError where the weights end before what the .xml says of them."""
    said = (data.attrib for data in ElementTree.parse(path).iter("data"))
    places = [(one.get("offset", ""), one.get("size", "")) for one in said]
    ends = [int(begin) + int(length) for begin, length in places if begin.isdecimal() and length.isdecimal()]
    size = weights_of(path).stat().st_size
    if size < max(ends, default=0):
        raise ExportError(
            f"{weights_of(path)} is cut off: it has {size} bytes of {max(ends)}; copy it again, or export it again"
        )


def open_file(path: Path) -> tuple[About, Run]:
    about = read_about(path)
    try:
        import openvino
    except ImportError:
        raise ExportError(f"{path} is run by openvino, which is not installed: pip install openvino") from None
    if not weights_of(path).is_file():
        raise ExportError(f"{path} has its weights in {weights_of(path)}, which is not there; copy both files")
    refuse_cut(path)
    try:
        precise = {"INFERENCE_PRECISION_HINT": "f32"} if about.precision != "fp16" else {}
        compiled = openvino.compile_model(path, "CPU", precise)
    except RuntimeError as error:
        raise ExportError(f"{path} is damaged ({' '.join(str(error).split())[:200]}); export it again") from None

    def run(images: Tensor) -> list[Tensor]:
        found = compiled(images.contiguous().numpy())
        return [torch.from_numpy(found[place].copy()) for place in range(len(about.outputs))]

    return about, run
