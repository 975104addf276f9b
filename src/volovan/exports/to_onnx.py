"""ONNX: written by torch's exporter, run by onnxruntime.

One file each, at opset 20, with named axes and what it needs to be used in its metadata. Old exporters of torch write
files of VOLO that fail, hence the one that traces by torch.export.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from volovan.exports.about import KEY, About, ExportError
from volovan.exports.graph import open_axes, traced
from volovan.exports.onnx_precision import INPUT, in_precision
from volovan.exports.quiet import quiet
from volovan.exports.sensitive import NONE, Calibration
from volovan.files.whole import new_file
from volovan.predictor import Session, metadata_of
from volovan.room.cut import CutOff, Run

OPSET = 20


def write(part: CutOff, path: Path, about: About, calibration: Calibration = NONE) -> None:
    import onnx

    model = in_precision(onnx_model(part, about), about, calibration)
    with new_file(path) as made:
        onnx.save(said(model, about), made)


def said(model: Any, about: About) -> Any:
    """With what it says of itself, which tools forget."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, about.text()
    model.producer_name = "volovan"
    return model


def onnx_model(part: CutOff, about: About) -> Any:
    """With names in place of the numbered sizes of the exporter."""
    import onnx_ir

    program = traced(part, about)
    with quiet():
        made: Any = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(about.outputs),
            custom_translation_table=translations(),
        )
    graph = made.model.graph
    names = {str(graph.inputs[0].shape[axis]): name for axis, name in open_axes(about).items()}
    for node in graph:
        for value in node.outputs:
            if value not in graph.outputs:
                value.shape = None  # in terms of numbered sizes, and not needed
    for value in (*graph.inputs, *graph.outputs):
        value.shape = onnx_ir.Shape(
            [
                size if isinstance(size, int) else names.get(str(size), f"{value.name}_{axis}")
                for axis, size in enumerate(value.shape)
            ]
        )
    return onnx_ir.serde.serialize_model(made.model)


def translations() -> dict[Any, Any]:
    """Operations of ours in those of ONNX."""
    import volovan.detect.fixed  # noqa: F401 - registers the operation
    from volovan.exports.onnx_operations import suppress

    return {torch.ops.volovan.suppress.default: suppress}


def read_about(path: Path) -> About:
    return About.read(metadata_of(path), path)


def open_file(path: Path, threads: int | None = None) -> tuple[About, Run]:
    """threads: of a CPU; None: as onnxruntime has them."""
    session = Session(path, threads)
    about = About.read(session.metadata.get(KEY), path)
    if tuple(session.outputs) != about.outputs:
        raise ExportError(
            f"{path} gives {', '.join(session.outputs)} where its metadata name {', '.join(about.outputs)}; export the "
            "network again"
        )

    def run(images: Tensor) -> list[Tensor]:
        return [torch.from_numpy(found) for found in session.run(images.contiguous().numpy())]

    return about, run
