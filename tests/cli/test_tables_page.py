"""docs/tables.md: every command of it is one that the command line takes, and no recipe or ablation is left out."""

import re
import shlex
from pathlib import Path

import pytest

from volovan.bench.ablation import find_ablation, read_ablation
from volovan.bench.ablation import packaged as ablations
from volovan.cli import VERBS, main
from volovan.models.variants import list_models
from volovan.models.weights import get_entry, list_weights
from volovan.use.recipes import find_recipe, packaged, read_recipe
from volovan.verbs.options import parse
from volovan.verbs.validate import add_common

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
CODE = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", PAGE.read_text(), flags=re.M | re.S))
COMMANDS = sorted({code for code in CODE if code.startswith("volovan ")})
RECIPES = [name.split("/")[1] for name in packaged()]
OF_NO_PAPER = ("small", "cifar10", "digits", "finetune", "camvid", "shapes", "coco_tiny")
A_RUN = "ade20k_fpn_van_b0"  # in place of RUN: a model that says where it is from


def check(command: str) -> None:
    """Names and options of a command; nothing is read or computed."""
    verb, *words = shlex.split(command)[1:]
    assert verb in VERBS
    if verb == "fit":
        read_recipe(find_recipe(words[0]), words[1:])
    elif verb == "models":
        assert words[0] in list_models()
    elif verb == "validate":
        args, named, _ = parse(verb, "", [A_RUN if word == "RUN" else word for word in words], add_common)
        assert args.weights is None or get_entry(args.weights).model == named.variant
    elif verb == "ablate":
        assert words[0] in ablations()
    else:
        assert verb == "label"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_is_taken(command):
    check(command)


def test_ablations_are_given_what_they_need():
    for command in COMMANDS:
        _, verb, name, *words = shlex.split(command)
        if verb == "ablate":
            assert set(read_ablation(find_ablation(name)).needs) == {word for word in words if "." in word}, command


def test_every_recipe_and_ablation_that_is_named_is_there():
    named = {
        code for code in CODE if re.fullmatch(r"(van|volo|lvvit|ade20k|coco|cub200|duts|flowers)_[a-z0-9_]+", code)
    }
    assert named <= {*RECIPES, *ablations(), *list_models(), *list_weights()}


def test_every_recipe_of_a_paper_and_every_ablation_is_named():
    words = {word for code in CODE for word in code.split()}
    left_out = [name for name in RECIPES if not name.startswith(OF_NO_PAPER) and name not in words]
    assert not left_out
    assert not [name for name in ablations() if name not in words]


def test_the_labels_command_has_its_options(capsys):
    with pytest.raises(SystemExit):
        main(["label", "--help"])
    said = capsys.readouterr().out
    assert all(word in said for command in COMMANDS if " label " in command for word in command.split() if "--" in word)
