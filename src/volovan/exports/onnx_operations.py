"""Operations of ours, written in those of ONNX."""

from __future__ import annotations

from typing import Any

import onnxscript

op: Any = onnxscript.opset20


def suppress(boxes: Any, scores: Any, overlap: float, most: int) -> Any:
    """volovan::suppress: NonMaxSuppression gives rows (picture, 0, box), in each picture the surest first; the place of
    each is how many of its picture come before it."""
    last = op.Constant(value_int=most)
    found = op.NonMaxSuppression(
        boxes, op.Unsqueeze(scores, [1]), last, op.Constant(value_float=overlap), op.Constant(value_float=0.0)
    )
    picture, row = op.Slice(found, [0], [1], [1]), op.Squeeze(op.Slice(found, [2], [3], [1]), [1])
    batch = op.Shape(boxes, start=0, end=1)
    pictures = op.Unsqueeze(op.Range(op.Constant(value_int=0), op.Squeeze(batch, [0]), op.Constant(value_int=1)), [0])
    own = op.Cast(op.Equal(picture, pictures), to=7)
    before = op.Sub(op.ReduceSum(op.Mul(op.CumSum(own, op.Constant(value_int=0)), own), [1], keepdims=1), [1])
    empty = op.Expand(op.Constant(value_ints=[-1]), op.Concat(batch, op.Constant(value_ints=[most]), axis=0))
    return op.ScatterND(empty, op.Concat(picture, before, axis=1), row)
