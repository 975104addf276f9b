"""The wheel, installed into an environment of its own, works from an empty folder; recipes and digits are inside."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = f"from hatchling.build import build_wheel; print(build_wheel({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", build], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.strip().splitlines()[-1]


def test_wheel_holds_recipes_data_and_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "volovan/recipes/classify/finetune_folder.yaml" in names
    assert "volovan/data/published/digits.npz" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith("tests/") or "golden" in name for name in names)
    assert wheel.stat().st_size < 1_200_000
    others = [one for one in zipfile.ZipFile(wheel).infolist() if not one.filename.endswith((".py", "/RECORD"))]
    assert max(one.file_size for one in others) < 50_000  # so what grows is code


def test_wheel_trains_and_predicts_from_an_empty_folder(wheel, tmp_path):
    place = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    library = next(place.glob("lib/python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(library)
    # The dependencies are those of this environment; a .pth file is not followed twice, so its editable install is not.
    (library / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"OMP_NUM_THREADS": "1"}

    def volovan(*words):
        command = [str(place / "bin" / "python"), "-m", "volovan", *words]
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = [str(place / "bin" / "python"), "-c", "import volovan; print(volovan.__file__)"]
    found = subprocess.run(where, cwd=empty, env=environment, capture_output=True, text=True, check=True).stdout
    assert str(library) in found
    volovan("fit", "digits_van", "--out", "run", "--train.max_steps", "3")
    assert "top1" in volovan("validate", "run", "--limit", "20")
    volovan("predict", "run", "digits", "--out", "p")
    assert sorted(path.name for path in empty.iterdir()) == ["p", "run"]
