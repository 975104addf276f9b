"""Sizes of programs: what a table says, and what is left out of it."""

import json

import pytest
import torch

from volovan.ops import tiles
from volovan.ops.tiles import Tiles, read_table, table_path, trying

KERNEL = Tiles("kernel", {"PLACES": 16, "num_warps": 4}, {"PLACES": (8, 16), "num_warps": (2, 4)})
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    table_path().parent.mkdir()


def test_usual_tried_and_measured(monkeypatch):
    assert KERNEL.of(CPU, torch.float32) == {"PLACES": 16, "num_warps": 4}
    with trying("kernel", {"PLACES": 8}):
        assert KERNEL.of(CPU, torch.float32) == {"PLACES": 8, "num_warps": 4}
    monkeypatch.setattr(tiles, "measured", lambda device: {"kernel bfloat16": {"num_warps": 2, "GONE": 3}})
    assert KERNEL.of(CPU, torch.float32) == {"PLACES": 16, "num_warps": 4}
    assert KERNEL.of(CPU, torch.bfloat16) == {"PLACES": 16, "num_warps": 2}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 3}', '{"a": {"b": {"c": "d"}}}', "\x00", '{"a": {"b": 3}}'])
def test_a_file_that_is_no_table_counts_as_none(content):
    table_path().write_text(content)
    assert read_table() == {}


def test_a_table():
    known = {"card, triton 3.9.0": {"kernel float32": {"PLACES": 8}}}
    table_path().write_text(json.dumps(known))
    assert read_table() == known
