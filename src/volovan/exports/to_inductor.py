"""AOTInductor: the graph compiled to machine code of the processor at hand, run by torch, or by C++ without Python.

It needs a C++ compiler, and takes minutes.
"""

from __future__ import annotations

from pathlib import Path

import torch

from volovan.exports.about import KEY, About, ExportError
from volovan.exports.formats import part_in
from volovan.exports.graph import in_precision, traced
from volovan.exports.sensitive import NONE, Calibration
from volovan.exports.to_torch import freed, running
from volovan.files.whole import new_file
from volovan.predictor import one_line
from volovan.room.cut import CutOff, Run


def write(part: CutOff, path: Path, about: About, calibration: Calibration = NONE) -> None:
    from torch._inductor import aoti_compile_and_package

    program = freed(traced(in_precision(part, about), about))
    with new_file(path) as made:
        try:
            aoti_compile_and_package(
                program, package_path=str(made), inductor_configs={"aot_inductor.metadata": {KEY: about.text()}}
            )
        except Exception as error:  # of the compiler, or of an operation that it has not
            raise ExportError(
                f"{about.name} cannot be compiled ({one_line(error)}); export it --to torch-export"
            ) from error


def read_about(path: Path) -> About:
    import json

    text = part_in(path, "_metadata.json")
    try:
        said = json.loads(text or "{}").get(KEY)
    except ValueError:
        said = None
    return About.read(said, path)


def open_file(path: Path) -> tuple[About, Run]:
    about = read_about(path)
    try:
        model = torch._inductor.aoti_load_package(str(path))
    except Exception as error:
        raise ExportError(f"{path} is damaged, or of another machine ({one_line(error)}); export it again") from None

    return about, running(model)
