"""The model card: what a network is, how pictures come to it, how good it is, what its weights may be used for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volovan.models.weights.table import default_entry
from volovan.room.ready import Ready

PIPELINES = {
    "classify": "image-classification",
    "segment": "image-segmentation",
    "saliency": "image-segmentation",
    "detect": "object-detection",
    "pose": "keypoint-detection",
    "panoptic": "image-segmentation",
}
"""task -> the hub's word for it"""
SHOWN = 40
"""classes that a card lists by name"""


def card(
    ready: Ready[Any],
    name: str,
    *,
    use: str,
    data: str = "",
    figures: Mapping[str, float] | None = None,
    picture: str = "",
    library: str = "volovan",
) -> str:
    """Markdown with the header that the hub reads.

    use      code that runs
    data     what it was trained on
    figures  of a validation
    picture  a file of predictions, beside the card
    """
    seen, config = ready.preprocessing, ready.describe()["config"]
    trunk = config.get("trunk", config)["name"]
    header = ["---", f"library_name: {library}", f"pipeline_tag: {PIPELINES[ready.room]}", "tags:", "- volovan", "---"]
    facts = {
        "task": ready.room,
        "network": trunk + (f" with {config['head']}" if "head" in config else ""),
        "parameters": f"{sum(parameter.numel() for parameter in ready.model.parameters()):,}",
        "pictures": f"{seen.input_size[0]} x {seen.input_size[1]}, {ready.conditions()}",
        "normalised": f"(value / 255 - mean) / std, mean {rounded(seen.mean)}, std {rounded(seen.std)}",
        "resized": f"{seen.interpolation}, {brought(ready)}",
        "trained on": data or "not said",
        "classes": listed(ready.classes),
    }
    lines = [*header, "", f"# {name}", "", *(f"- **{key}**: {value}" for key, value in facts.items()), ""]
    if figures:
        lines += [
            "| figure | value |",
            "|---|---|",
            *(f"| {key} | {value:.4g} |" for key, value in figures.items()),
            "",
        ]
    if picture:
        lines += [f"![predictions]({picture})", ""]
    return "\n".join([*lines, "## Use", "", "```python", use.strip(), "```", "", "## Licence", "", licence(trunk), ""])


def brought(ready: Ready[Any]) -> str:
    """How a picture comes to its size, as far as a room says it."""
    squashed = ready.says().get("eval_mode") == "squash"
    return "the whole picture squashed" if squashed else f"crop {ready.preprocessing.crop_pct:g}"


def licence(trunk: str) -> str:
    """What is known of the weights that a network of this name usually starts from."""
    entry = default_entry(trunk)
    if entry is None:
        return "The code of volovan is under Apache-2.0. Weights are as free as the pictures that they were trained on."
    return (
        f"The code of volovan is under Apache-2.0. If training started from the published weights of {trunk} "
        f"(trained on {entry.trained_on}), theirs holds too: {entry.licence}. So does that of the pictures that it was "
        "trained on."
    )


def rounded(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


def listed(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
    return f"{len(classes)}: {', '.join(classes[:SHOWN])}{more}"
