"""The command line and the package are light to start: nothing heavy is imported before it is needed."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from volovan.cli import VERBS, main


@pytest.fixture
def printed_without(environment: dict[str, str]) -> Callable[[set[str], str], str]:
    """printed_without(modules, code): what code prints in a process of its own, which must not import these modules."""

    def run(modules: set[str], code: str) -> str:
        check = f"heavy = {modules} & set(sys.modules)\nsys.exit(f'imported {{heavy}}' if heavy else 0)"
        command = [sys.executable, "-c", f"import sys\n{code}\n{check}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize(
    "words", [["--help"], ["fit", "--help"], ["fit", "digits_van", "--help"], ["predict", "--help"]]
)
def test_help_imports_no_torch(words, printed_without):
    code = f"from volovan.cli import main\ntry: main({words!r})\nexcept SystemExit: pass"
    assert "usage" in printed_without({"torch", "torchvision", "timm", "PIL", "numpy"}, code)


def test_help_names_every_verb_and_every_key(capsys):
    main(["--help"])
    overview = capsys.readouterr().out
    assert all(verb in overview for verb in VERBS)
    assert main(["fit", "digits_van", "--help"]) == 0
    text = capsys.readouterr().out
    for key in ("--optim.lr", "--schedule.warmup_epochs", "--train.accumulate", "--augment.cutmix", "--model.options"):
        assert key in text


def test_help_of_a_recipe_has_its_values(capsys):
    for name, values in {
        "detect/finetune_coco": ("mask_rcnn",),
        "detect/shapes_detect": ("gfl", "{'width': 64}"),
    }.items():
        assert main(["fit", name, "--help"]) == 0
        text = " ".join(capsys.readouterr().out.split())
        for value in values:
            assert f"default: {value})" in text
    assert main(["fit", "--help"]) == 0
    assert "default: 1024)" in capsys.readouterr().out  # a recipe leaves no value behind


def test_import_of_volovan_stays_light(printed_without):
    printed_without(
        {"timm", "torchvision", "transformers", "scipy", "PIL"},
        "import volovan; assert 'torch' not in sys.modules\n"
        "volovan.create_model, volovan.list_models, volovan.load_weights, volovan.ops\n"
        "import torch, volovan.ops, volovan.models.factory",
    )


@pytest.mark.parametrize("detects", [False, True], ids=["others", "detect"])
def test_what_only_training_needs_is_not_imported_to_predict(printed_without, detects):
    """Non-maximum suppression and RoIAlign are torchvision's, which imports torch._dynamo."""
    of_boxes = set() if detects else {"torchvision", "torch._dynamo"}
    printed_without(
        {"timm", "transformers", "scipy", "matplotlib", "hotcoco"} | of_boxes,
        "import volovan.use.validate, volovan.use.predict\n"
        "from volovan.use.rooms import ROOMS\n"
        f"for name, room in ROOMS.items(): (name == 'detect') is {detects} and room.ready()",
    )
