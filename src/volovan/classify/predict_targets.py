"""Predictions of several labels, or of numbers, as rows of a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from volovan.classify.load import Classifier
from volovan.classify.targets import Outputs
from volovan.data.targets import SEPARATOR

Columns = tuple[list[str], Callable[[dict[str, Any]], list[str]]]
"""Names of the columns between file and error, and the cells of a row."""


def says_targets(classifier: Classifier, threshold: float) -> Callable[[Tensor], list[dict[str, Any]]]:
    """Images (B, 3, H, W) -> for each {"labels": classes at or above the threshold, most probable first} or {"values":
    {name: number}}."""
    outputs = classifier.outputs
    assert outputs is not None

    def forward(images: Tensor) -> list[dict[str, Any]]:
        rows = outputs.decode(classifier.model(images).float()).tolist()
        if outputs.kind == "regression":
            return [{"values": dict(zip(outputs.names, row, strict=True))} for row in rows]
        return [{"labels": _labels(outputs, row, threshold)} for row in rows]

    return forward


def _labels(outputs: Outputs, row: list[float], threshold: float) -> list[dict[str, Any]]:
    found = [(value, number) for number, value in enumerate(row) if value >= threshold]
    return [
        {"class": outputs.names[number], "number": number, "probability": value}
        for value, number in sorted(found, key=lambda pair: -pair[0])
    ]


def target_columns(outputs: Outputs) -> Columns:
    """Labels: two columns, `labels` as a list for training has them, and their probabilities. Numbers: one each."""
    if outputs.kind == "regression":
        return list(outputs.names), lambda row: [f"{value:.6g}" for value in row["values"].values()]
    return ["labels", "probabilities"], lambda row: [
        SEPARATOR.join(label["class"] for label in row["labels"]),
        SEPARATOR.join(f"{label['probability']:.6f}" for label in row["labels"]),
    ]


def targets_caption(row: dict[str, Any]) -> str:
    """The same for a contact sheet."""
    if "values" in row:
        return ", ".join(f"{value:.4g}" for value in row["values"].values())
    return ", ".join(label["class"] for label in row["labels"]) or "none"
