"""The formats that a network can be written in, and which of them a file is of."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from volovan.exports.about import About, ExportError
from volovan.exports.sensitive import NONE, Calibration
from volovan.room.cut import CutOff, Run


@dataclass(frozen=True)
class Format:
    """One of them; its page has write(part, path, about, pictures), open_file(path) and read_about(path).

    suffix      of its files
    page        module of this package
    needs       packages besides volovan's own, and the extra of `pip install volovan[...]` that brings them
    precisions  that it can be written in
    beside      endings of the files that lie beside it
    """

    name: str
    suffix: str
    page: str
    needs: tuple[str, ...] = ()
    extra: str = ""
    precisions: tuple[str, ...] = ("fp32",)
    beside: tuple[str, ...] = ()

    def require(self) -> None:
        """ExportError that says what to install."""
        missing = [name for name in self.needs if find_spec(name) is None]
        if missing:
            raise ExportError(f"{self.name} needs {', '.join(missing)}: pip install 'volovan[{self.extra}]'")

    def _page(self) -> Any:
        return import_module(f"volovan.exports.{self.page}")

    def write(self, part: CutOff, path: Path, about: About, calibration: Calibration = NONE) -> None:
        """The file appears whole or not at all. calibration: for int8."""
        self._page().write(part, path, about, calibration)

    def open_file(self, path: Path) -> tuple[About, Run]:
        """What a file says of itself, and what runs it."""
        found: tuple[About, Run] = self._page().open_file(path)
        return found

    def read_about(self, path: Path) -> About:
        """What a file says of itself, without running it."""
        found: About = self._page().read_about(path)
        return found


FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        Format(
            "onnx",
            ".onnx",
            "to_onnx",
            ("onnx", "onnxscript", "onnxruntime"),
            "export",
            ("fp32", "fp16", "int8", "int8-weights"),
        ),
        Format("torch-export", ".pt2", "to_torch", precisions=("fp32", "fp16", "bf16")),
        Format("aotinductor", ".pt2", "to_inductor", precisions=("fp32", "bf16")),
        Format(
            "openvino",
            ".xml",
            "to_openvino",
            ("onnx", "onnxscript", "onnxruntime", "openvino"),
            "export,openvino",
            ("fp32", "fp16", "int8", "int8-weights"),
            (".bin",),
        ),
    )
}


def format_of(path: Path) -> Format:
    """Of a file that is there, by its ending, and where two have the same by its content."""
    if path.suffix.lower() != ".pt2":
        return next(one for one in FORMATS.values() if one.suffix == path.suffix.lower())
    return FORMATS["aotinductor" if any("/aotinductor/" in name for name in names_in(path)) else "torch-export"]


def names_in(path: Path) -> list[str]:
    """Of the parts of a file of torch.export or AOTInductor, which is a zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise damaged(path, error) from None


def part_in(path: Path, ending: str) -> str | None:
    """The text of a part whose name ends so; None: there is none."""
    name = next((name for name in names_in(path) if name.endswith(ending)), None)
    if name is None:
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name).decode("utf-8", "replace")
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise damaged(path, error) from None


def damaged(path: Path, error: BaseException) -> ExportError:
    return ExportError(f"{path} is cut off, damaged or no file of torch.export ({error}); export it again")
