"""volovan models [NAME]"""

import argparse
import json
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="one model, or a pattern such as 'van_*'; default: all")
    parser.add_argument("--size", type=int, help="count the cost at this size")
    parser.add_argument("--markdown", action="store_true", help="print the table of the README")


def run(args: argparse.Namespace) -> int:
    from volovan.models.variants import list_models

    if args.name and not any(sign in args.name for sign in "*?["):
        show(args.name, args.size)
        return 0
    names = list_models(args.name or "*")
    print(zoo_table(names) if args.markdown else plain_table(names, args.size))
    return 0


def plain_table(names: list[str], size: int | None) -> str:
    """One line per model."""
    from volovan.models.cost import measure_cost

    lines = [f"{'model':10s} {'parameters':>13s} {'GMACs':>8s} {'at':>9s}  published weights"]
    for name in names:
        cost = measure_cost(name, size)
        at = "x".join(map(str, cost.size))
        weights = ", ".join(entry.name for entry in entries_of(name)) or "none"
        lines.append(f"{name:10s} {cost.parameters:13,d} {cost.gmacs:8.2f} {at:>9s}  {weights}")
    return "\n".join(lines)


def zoo_table(names: list[str]) -> str:
    """The zoo as Markdown: one row per published checkpoint, and per model without one."""
    from volovan.models.cost import measure_cost

    rows = [
        "| model | weights | size | parameters | GMACs | top-1 (published) | licence |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for name in names:
        for entry in entries_of(name) or [None]:
            size = entry.size if entry else None
            cost = measure_cost(name, size, num_classes=entry.num_classes if entry else None)
            top1 = f"{entry.published.top1:.1f}" if entry and entry.published else "–"
            rows.append(
                f"| {name} | {entry.name if entry else 'none published'} | {cost.size[0]} | {cost.parameters:,} "
                f"| {cost.gmacs:.2f} | {top1} | {entry.licence.split(';')[0] if entry else '–'} |"
            )
    return "\n".join(rows)


def entries_of(model: str) -> list[Any]:
    """Rows of the weights table that belong to a model."""
    from volovan.models.weights import get_entry, list_weights

    return [entry for entry in map(get_entry, list_weights()) if entry.model == model]


def show(name: str, size: int | None) -> None:
    """Everything about one model."""
    from dataclasses import asdict

    from volovan.models.cost import measure_cost
    from volovan.models.preprocessing import default_preprocessing
    from volovan.models.variants import find_config

    config = find_config(name)  # raises for an unknown name
    cost = measure_cost(name, size)
    print(f"{name}: {cost.parameters:,} parameters, {cost.gmacs:.3f} GMACs at {cost.size[0]}x{cost.size[1]}")
    print(f"config: {json.dumps(asdict(config))}")
    print(f"preprocessing: {describe(default_preprocessing(name, cost.size))}")
    for entry in entries_of(name):
        top1 = f"top-1 {entry.published.top1} ({entry.published.source})" if entry.published else "top-1 not published"
        print(f"weights {entry.name}: {entry.size} px, {entry.trained_on}, {entry.num_classes} classes, {top1}")
        print(f"  {entry.licence}; preprocessing: {describe(entry.preprocessing)}")
        for source in entry.sources:
            print(f"  {source.url or f'{source.repo} {source.file}'} ({source.layout})")
        if entry.note:
            print(f"  {entry.note}")


def describe(seen: Any) -> str:
    """A Preprocessing in one line."""
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (seen.mean, seen.std))
    height, width = seen.input_size
    return f"{height}x{width}, crop {seen.crop_pct:g}, {seen.interpolation}, mean {mean}, std {std}"
