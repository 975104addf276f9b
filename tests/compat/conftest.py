"""Fixtures of the tests of kept runs."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def made() -> Any:
    """The module make_runs.py: the folder KEPT, take_run() and what reads files without the package."""
    spec = importlib.util.spec_from_file_location("make_runs", Path(__file__).with_name("make_runs.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pictures(made: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures that the runs were trained on, and others to predict."""
    return made.write_pictures(tmp_path_factory.mktemp("compat"))
