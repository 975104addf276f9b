"""Networks as ONNX files, each written once."""

from functools import cache

import pytest

from exported import odd_pictures, ready
from volovan.exports.exporting import about_of, choose_format, export


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """written(task, head, family) -> (the network in use, the file as `Exported`)."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("onnx")

    @cache
    def write(task, head=None, family="van"):
        found = ready(task, head, family)
        path = folder / f"{task}-{head}-{family}.onnx"
        return found, export(found, choose_format("onnx", "fp32"), path, about_of(found), odd_pictures(8)[7:])

    return write
