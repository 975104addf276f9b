"""Verbs called in this process, and what they have written."""

import csv
from pathlib import Path

import pytest

from volovan.cli import main


def run(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> tuple[str, str]:
    """Call a verb; its standard output and error."""
    capsys.readouterr()
    ended = main([str(word) for word in words])
    said = capsys.readouterr()
    assert ended == status, said.err
    return said.out, said.err


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one sentence with which a command is refused."""
    _, err = run(capsys, *words, status=2)
    lines = [line for line in err.splitlines() if not line.startswith("note:")]
    assert len(lines) == 1, err
    return lines[0]


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
