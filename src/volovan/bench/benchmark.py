"""volovan benchmark: networks and operations beside their peers in one run, as a table, as JSON and as pictures."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from volovan.bench.benchmark_plot import draw_accuracy, draw_roofline
from volovan.bench.contestants import PEERS, PLAIN, TIMM, Contestant, find_contestant, in_forms, is_exported
from volovan.bench.machine import describe_machine
from volovan.bench.networks import How, Row, against, measure_networks
from volovan.bench.operations import measure_operations, usual_operations
from volovan.bench.tune import tune
from volovan.engine.distributed import choose_device
from volovan.engine.settings import SettingsError
from volovan.files.results import results
from volovan.files.whole import write_text

OPERATIONS = "ops"
SHOWN = {  # columns of the table on the terminal; the JSON has all
    "networks": ("network", "batch", "images_per_s", "ms", "ms_95", "memory_mib", "joules", "from", "to", "verdict"),
    "operations": ("operation", "backend", "ms", "of_floor", "of_plain", "from", "to", "verdict"),
}


def benchmark(args: argparse.Namespace) -> int:
    """Measure what is asked for; returns the exit status."""
    device = choose_device(args.device)
    keep_code_apart()
    if args.threads:
        torch.set_num_threads(args.threads)
    machine = describe_machine(device)
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    report: dict[str, Any] = {"machine": machine, "command": vars(args), "networks": [], "operations": []}
    subjects = [subject for subject in args.subjects if subject != OPERATIONS]
    teams = [_team(subject, args) for subject in subjects]  # all words are looked at before anything is timed
    if args.tune:
        if OPERATIONS not in args.subjects:
            raise SettingsError("--tune is of single operations; name ops among what is measured, or leave it out")
        tune(device, args.precision, args.batch or 8, args.rounds, say=lambda text: print(text, flush=True))
    folder = Path(args.out)
    with results(folder, "benchmark"):  # which refuses a folder before anything is timed, too
        for team in teams:
            for part in args.part:
                for precision in args.precision:
                    report["networks"] += _networks(team, part, precision, args, device)
        if OPERATIONS in args.subjects:
            report["operations"] = _operations(args, device)
        wrote = _write(report, folder)
    print(f"\nwrote {folder}/{', '.join(wrote)}")
    return 0


def keep_code_apart() -> None:
    """Where the instructions of a CPU are chosen by hand: torch 2.15 keeps compiled code without a word of those that
    it was made for, and that of one processor writes beyond its maps, or leaves half of them out, on another."""
    chosen = os.environ.get("ATEN_CPU_CAPABILITY")
    if chosen:
        folder = Path(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}_{chosen}")
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


def _team(subject: str, args: argparse.Namespace) -> list[Contestant]:
    """A network in its forms, and its peers."""
    size = tuple(args.size) if args.size else None
    ours = find_contestant(subject, size)
    words = PEERS.get(subject, ()) if args.peers is None else args.peers
    peers = [find_contestant(word, size or ours.size) for word in words if word != "none"]
    forms = ("eager", "compiled") if set(args.form) & {"compiled", "fused-compiled"} else ("eager",)
    if is_exported(subject) and "train" in args.part:
        raise SettingsError(f"{subject} is a file, which cannot be trained; name the run, or leave train out of --part")
    if is_exported(subject) and not peers and "eager" not in args.form:
        raise SettingsError(f"{subject} is a file, which has one form; leave --form out")
    own = [form for form in args.form if not (form.startswith("fused") and args.part == ["train"])]
    if not own:
        raise SettingsError("--form fused is for inference; name another form, or --part inference")
    layouts = args.layout or [None]
    return [*in_forms(ours, own, layouts), *(one for peer in peers for one in in_forms(peer, forms, layouts))]


def _networks(
    team: Sequence[Contestant], part: str, precision: str, args: argparse.Namespace, device: Any
) -> list[Row]:
    how = How(device, part, args.batch, precision, args.rounds)
    able = [one for one in team if not (how.train and one.form.startswith("fused"))]
    rows = measure_networks(able, how, say=lambda text: print(text, flush=True))
    strangers = [one.name for one in able if one.word.startswith((TIMM, PLAIN))]
    peer = strangers[0] if strangers else able[0].name
    found = against(rows, peer)
    print_rows(f"{part}, {precision}, {found[0]['size']}; ratios to {peer}", found, (*SHOWN["networks"], "of_" + peer))
    return found


def _operations(args: argparse.Namespace, device: torch.device) -> list[Row]:
    found: list[Row] = []
    for backward in sorted({part == "train" for part in args.part if part != "latency"}):
        for precision in args.precision:
            operations = usual_operations(args.batch or 8)
            rows = measure_operations(operations, device, precision, args.rounds, backward)
            print_rows(f"{rows[0]['part']}, {precision}", rows, SHOWN["operations"])
            found += rows
    return found


def print_rows(title: str, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Columns side by side, those that some row has."""
    there = [column for column in columns if any(column in row for row in rows)]
    there.sort(key=lambda column: column.startswith(("from", "to", "verdict")))  # bounds behind their ratio
    lines = [there, *([str(row.get(column, "")) for column in there] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(there))]
    print(f"\n{title}")
    for line in lines:
        print("  " + "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())


def _write(report: dict[str, Any], folder: Path) -> list[str]:
    """The names of the files."""
    write_text(folder / "benchmark.json", json.dumps(report, indent=2, default=str))
    wrote = ["benchmark.json"]
    inference = [row for row in report["networks"] if row["part"] == "inference" and "top1" in row]
    if inference:
        wrote.append(draw_accuracy(inference, report["machine"], folder / "accuracy.png").name)
    if report["operations"]:
        wrote.append(draw_roofline(report["operations"], report["machine"], folder / "roofline.png").name)
    return wrote
