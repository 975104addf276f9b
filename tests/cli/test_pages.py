"""CONTRIBUTING.md shows files as they are; the pages of the API name all that is public; types are marked."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

import volovan
from volovan import ops
from volovan.use.rooms import ROOMS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
API = "\n".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
SOURCES = {path.relative_to(ROOT / "src" / "volovan"): path.read_text() for path in (ROOT / "src").glob("**/*.py")}


def test_links_of_contributing_lead_somewhere():
    targets = [target for target in re.findall(r"\]\(([^)#]+)", PAGE) if not target.startswith("http")]
    assert targets
    assert not [target for target in targets if not (ROOT / target).exists()]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("models/van.py", "VARIANTS = {"),
        ("models/van.py", '"van_b0": VANConfig("van_b0"),'),
        ("segment/network.py", '"fpn": Head(fpn.FPNHead, "head.scale_heads.", classifiers=CLASSIFIERS'),
        ("segment/recipe.py", 'head: Literal["fpn", "upernet", "ham"] = "fpn"'),
        ("data/layouts/masks.py", "    camvid_splits,\n)"),
    ],
)
def test_lines_that_contributing_shows_are_there(file, line):
    assert line.splitlines()[0].strip() in PAGE
    assert line in SOURCES[Path(file)]


def test_contributing_names_the_files_of_the_smallest_room():
    there = {path.name for path in (ROOT / "tests" / "rooms" / "colour").glob("*.py")}
    assert there <= set(re.findall(r"^\| `([\w.]+)` \|", PAGE, flags=re.M))


@pytest.mark.parametrize("name", volovan.__all__)
def test_public_names_have_a_page(name):
    assert f"volovan.{name}" in API


@pytest.mark.parametrize("name", ops.__all__)
def test_operations_have_a_page(name):
    assert f".. autofunction:: volovan.ops.{name}" in API


@pytest.mark.parametrize("room", ROOMS)
def test_answers_of_every_room_have_a_page(room):
    assert re.search(rf"autoclass:: volovan\.{room}\.", API)


def test_the_package_says_that_it_has_types():
    assert files("volovan").joinpath("py.typed").is_file()


def test_site_has_every_page():
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages == set(re.findall(r"^([a-z_]+)$", index, flags=re.M))
