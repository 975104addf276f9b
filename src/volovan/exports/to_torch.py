"""torch.export: a graph of torch's own operations, which torch runs without the code of the network.

A network in two steps holds an operation of volovan, which has to be imported before the file is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges

from volovan.exports.about import KEY, About, ExportError
from volovan.exports.formats import part_in
from volovan.exports.graph import in_precision, traced
from volovan.exports.sensitive import NONE, Calibration
from volovan.files.whole import new_file
from volovan.predictor import one_line
from volovan.room.cut import CutOff, Run

ABOUT = f"{KEY}.json"


def write(part: CutOff, path: Path, about: About, calibration: Calibration = NONE) -> None:
    program = freed(traced(in_precision(part, about), about))
    with new_file(path) as made:
        torch.export.save(program, made, extra_files={ABOUT: about.text()})


def freed(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Without the conditions on sizes that come from torch's choice of a memory layout for the example, such as more
    than one picture: nothing in the graph depends on them, as the verification of the file shows."""
    program._guards_code.clear()
    for symbol in list(program.range_constraints):
        program.range_constraints[symbol] = ValueRanges(1, int_oo)
    return program


def read_about(path: Path) -> About:
    return About.read(part_in(path, f"/{ABOUT}"), path)


def open_file(path: Path) -> tuple[About, Run]:
    about = read_about(path)
    import volovan.detect.fixed  # noqa: F401 - registers the operation that files of two steps hold

    try:
        module = torch.export.load(path).module()
    except Exception as error:  # of damaged files, of many classes
        raise ExportError(f"{path} is cut off or damaged ({one_line(error)}); export it again") from None

    return about, running(module)


def running(module: Callable[[Tensor], Sequence[Tensor]]) -> Run:
    """What gives its outputs in float32, whatever it computes in."""

    @torch.no_grad()
    def run(images: Tensor) -> list[Tensor]:
        return [found.float() if found.is_floating_point() else found for found in module(images)]

    return run
