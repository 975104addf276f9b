"""ONNX files with fewer bits: half precision, weights of 8 bits, or sums of 8 bits by calibration pictures."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from volovan.exports.about import About
from volovan.exports.quiet import quiet
from volovan.exports.sensitive import Calibration

INPUT = "images"
LAYERS = ("Conv", "Gemm", "MatMul")
"""kinds of nodes whose sums are of 8 bits"""
LEAST = 1024
"""numbers of a weight that is worth 8 bits"""


def in_precision(model: Any, about: About, calibration: Calibration) -> Any:
    """The same network (an `onnx.ModelProto`) with the precision of `about`; calibration: for int8."""
    if about.precision == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        return convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    if about.precision == "int8-weights":
        return with_small_weights(model)
    if about.precision == "int8":
        return calibrated(model, calibration)
    return model


def with_small_weights(model: Any) -> Any:
    """Weights of 8 bits, each output channel with a scale of its own; sums stay in float."""
    from onnx import helper, numpy_helper

    graph = model.graph
    used = {name: node.op_type for node in graph.node if node.op_type in LAYERS for name in node.input[1:2]}
    kept, nodes = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name not in used or values.dtype != np.float32 or values.size < LEAST:
            kept.append(tensor)
            continue
        axis = values.ndim - 1 if used[tensor.name] == "MatMul" else 0
        others = tuple(place for place in range(values.ndim) if place != axis)
        scale = np.maximum(np.abs(values).max(axis=others, keepdims=True), 1e-12) / 127
        names = [f"{tensor.name}_{word}" for word in ("bytes", "scale", "zero")]
        arrays = (np.round(values / scale).astype(np.int8), scale.reshape(-1), np.zeros(scale.size, np.int8))
        kept += [numpy_helper.from_array(array, name) for array, name in zip(arrays, names, strict=True)]
        nodes.append(helper.make_node("DequantizeLinear", names, [tensor.name], axis=axis))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    others_ = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *others_])
    return model


def calibrated(model: Any, calibration: Calibration) -> Any:
    """Weights and inputs of layers of 8 bits, but for the layers that cost most (`sensitive.py`).

    Weights have seven: the instructions of AVX2 add pairs of products in 16 bits, which eight would overflow.
    """
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(calibration.pictures)

        def get_next(self) -> dict[str, np.ndarray] | None:
            picture = next(self.left, None)
            return None if picture is None else {INPUT: picture.numpy()}

    names = [node.name for node in model.graph.node if module_of(node) in calibration.spared]
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        with quiet():
            quantization.quantize_static(
                source,
                made,
                Reader(),
                op_types_to_quantize=list(LAYERS),
                per_channel=True,
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=names,
            )
        return onnx.load(made)


def module_of(node: Any) -> str:
    """The module that a node was traced from, such as "model.head"."""
    import ast

    said = next((entry.value for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"), "[]")
    scopes = ast.literal_eval(said)
    return str(scopes[-2]) if len(scopes) > 1 else ""
