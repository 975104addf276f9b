"""What a refusal says to do is done, word for word, and works."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from volovan.cli import main

SMALL = "--train.max_steps 1 --data.limit 16 --train.batch_size 8 --train.workers 0 --train.tensorboard false"
DIGITS = f"fit digits_van {SMALL}"
SEGMENT = f"fit shapes_van {SMALL} --data.source shapes:16@64x64 --augment.crop 64"
SALIENT = f"fit shapes_edn {SMALL} --data.source shapes:16@64x64 --data.size 64"
PANOPTIC = f"fit shapes_panoptic {SMALL} --data.source shapes:16@64x64 --augment.crop 64 --train.device cpu"


@dataclass(frozen=True)
class Case:
    """A command that is refused, and what to type after the sentence was read.

    typed    the command
    says     pattern in the refusal; its group is what is to be taken from it
    instead  part of the command -> what stands in its place, `{}` being the group; or what is added, for ""
    """

    typed: str
    says: str
    instead: dict[str, str]


CASES = {
    "verb": Case("fti digits_van " + SMALL, r"did you mean (\w+)\?", {"fti ": "{} "}),
    "recipe": Case(f"fit digits_vam {SMALL}", r"did you mean (\w+)\?", {"digits_vam": "{}"}),
    "key": Case(f"{DIGITS} --optim.lrr 0.1", r"did you mean ([\w.]+)\?", {"optim.lrr": "{}"}),
    "section": Case(f"{DIGITS} --optim 3", r"such as (--optim\.\w+) VALUE", {"--optim 3": "{} sgd"}),
    "word too many": Case(f"{DIGITS} extra", r"(extra) is a word too many", {" extra": ""}),
    "number": Case(f"{DIGITS} --optim.lr fast", "expected a number", {"fast": "0.01"}),
    "null": Case(f"{DIGITS} --data.limit 3.5", "a whole number or (null)", {"3.5": "{}"}),
    "choice": Case(f"{DIGITS} --train.precision fp8", r"expected one of (\w+),", {"fp8": "{}"}),
    "two numbers": Case(f"{DIGITS} --augment.crop_scale 3", r"such as (\[.*\])", {"crop_scale 3": "crop_scale {}"}),
    "a list": Case(f"{DIGITS} --train.freeze 7", "a list of texts such as", {"freeze 7": "freeze [patch_embed1]"}),
    "a mapping": Case(f"{DIGITS} --model.options foo", r"mapping such as \{key: value\}", {"foo": "'{sigmoid: true}'"}),
    "true": Case(f"{DIGITS} --train.ema_warmup 7", "expected (true) or false", {"ema_warmup 7": "ema_warmup {}"}),
    "no value": Case(f"{DIGITS} --data.size", "needs a value, a whole number", {"--data.size": "--data.size 28"}),
    "workers": Case(f"{DIGITS} --train.workers 5000", r"set it to (\d+) or fewer", {"workers 5000": "workers {}"}),
    "fewer than none": Case(f"{DIGITS} --train.workers -1", r"at least (\d)", {"workers -1": "workers {}"}),
    "batch": Case(f"{DIGITS} --train.accumulate 3", r"make it a multiple of (\d)", {"batch_size 8": "batch_size {}"}),
    "mean alone": Case(f"{DIGITS} --data.std null", "set both or neither", {"": " --data.mean null"}),
    "mixed sizes": Case(f"{DIGITS} --data.mixed_sizes [64,96]", r"set (data\.mixed_sizes) to \[\]", {"[64,96]": "[]"}),
    "option": Case(
        f"{DIGITS} --model.options.sigmoidd true", r"did you mean '(\w+)'", {"options.sigmoidd": "options.{}"}
    ),
    "stages": Case(
        f"{DIGITS} --model.options.depths [1,1]", "expected one entry per stage in each", {"[1,1]": "[1,1,1]"}
    ),
    "reserved option": Case(
        f"{DIGITS} --model.options.img_size 28", r"follows from (data\.size)", {"model.options.img_size": "{}"}
    ),
    "head option": Case(
        f"{SEGMENT} --model.head_options.chanels 16", r"did you mean '(\w+)'", {"options.chanels": "options.{}"}
    ),
    "crop": Case(f"{SEGMENT} --data.size 96", r"set (augment\.crop),", {"--data.size": "--{}"}),
    "size": Case(f"{SALIENT} --augment.crop 96", r"set (data\.size);", {"--augment.crop": "--{}"}),
    "window": Case(f"{PANOPTIC} --data.size 96", r"set (augment\.crop),", {"--data.size": "--{}"}),
    "overlap": Case(f"{PANOPTIC} --test.overlap 0.5", r"set (test\.visible),", {"--test.overlap": "--{}"}),
    "sampling": Case(f"{PANOPTIC} --train.sampling balanced", r"leave it at (\w+)", {"balanced": "{}"}),
    "width of a head": Case(
        f"{PANOPTIC} --model.head_options.width 48", r"a multiple of (\d+) and of the 4 heads", {"width 48": "width {}"}
    ),
    "rate of the trunk": Case(f"{PANOPTIC} --optim.trunk_lr 0", r"more than 0", {"trunk_lr 0": "trunk_lr 0.1"}),
    "crop scale": Case(f"{DIGITS} --augment.scale [0.5,1]", r"set (augment\.crop_scale)", {"augment.scale": "{}"}),
    "smoothing": Case(f"{DIGITS} --loss.smoothing 2", r"at least (0) and below 1", {"smoothing 2": "smoothing {}"}),
    "erasing": Case(f"{DIGITS} --augment.erase_count 0", r"at least (1) is needed", {"count 0": "count {}"}),
    "focal": Case(
        f"{SEGMENT} --loss.smoothing 0.1 --loss.name focal",
        "set it to (0) with focal",
        {"smoothing 0.1": "smoothing {}"},
    ),
    "average": Case(
        f"{SEGMENT} --loss.average all --loss.ohem 0.7", "set one of them", {"--loss.ohem 0.7": "--loss.ohem null"}
    ),
    "stride": Case(
        f"{SEGMENT} --test.mode slide --test.window 64 --test.stride 65",
        "a step from 1 to the window's side",
        {"stride 65": "stride 64"},
    ),
    "no loss": Case(
        f"{SALIENT} --loss.bce 0 --loss.dice 0", "give one of them a weight", {"--loss.bce 0": "--loss.bce 1"}
    ),
    "warm-up": Case(f"{DIGITS} --schedule.warmup_epochs 99", "shorten the warm-up", {"epochs 99": "epochs 1"}),
    "ema": Case(f"{DIGITS} --train.ema 1", "below 1 is needed", {"ema 1": "ema 0.9"}),
    "device": Case(f"{DIGITS} --train.device tpu9", r"use auto, (cpu)", {"tpu9": "{}"}),
    "variable": Case(f"fit cifar10_van {SMALL}", r"name another source with (--data\.source)", {"": " {} pictures"}),
    "no validation": Case(
        f"{DIGITS} --data.source one_each", r"name data for val with (--data\.val)", {"": " {} pictures"}
    ),
    "source": Case(f"{DIGITS} --data.source pictres", r"did you mean (\w+)\?", {"pictres": "{}"}),
    "bad picture": Case(
        f"{DIGITS} --data.source broken --data.val pictures --data.limit null",
        r"set (--train\.on_bad skip)",
        {"": " {}"},
    ),
    "resume alone": Case(
        "fit --resume runs/first --train.seed 1", "nothing else can be given with it", {" --train.seed 1": ""}
    ),
    "resume": Case("fit --resume runs/firts", r"did you mean ([\w/]+)\?", {"runs/firts": "{}"}),
    "run there": Case(
        f"{DIGITS} --out runs/first", r"`volovan (fit --resume runs/first)`", {f"{DIGITS} --out runs/first": "{}"}
    ),
    "run as recipe": Case("fit runs/first", r"volovan (fit --resume runs/first)", {"fit runs/first": "{}"}),
    "rehearsals": Case("fit digits_van --dry-run --plan", "give one of them", {" --plan": ""}),
    "batch of a run": Case(f"{DIGITS} --batch 4", r"a run has (--train\.batch_size)", {"--batch": "{}"}),
    "validate": Case("validate runs/firts --workers 0", r"did you mean ([\w/]+)\?", {"runs/firts": "{}"}),
    "folder of runs": Case("validate runs --workers 0", r"did you mean ([\w/]+)\?", {"validate runs": "validate {}"}),
    "random weights": Case("validate digits_van --workers 0", "name a run", {"digits_van": "runs/first"}),
    "option of a verb": Case(
        "validate runs/first --bathc-size 8 --workers 0", r"did you mean (--[\w-]+)\?", {"--bathc-size": "{}"}
    ),
    "choice of a verb": Case("validate runs/first --precision fp8 --workers 0", r"one of (\w+),", {"fp8": "{}"}),
    "option of another task": Case("validate runs/first --boundary --workers 0", "leave it out", {" --boundary": ""}),
    "native": Case(
        "validate runs/first --size native --workers 0", r"such as (--size) 224", {"--size native": "{} 28"}
    ),
    "other split": Case(
        "validate runs/first --split test --workers 0", "ask for one of these", {"--split test": "--split train"}
    ),
    "top": Case("predict runs/first pictures --top 0 --workers 0", r"at least (\d)", {"--top 0": "--top {}"}),
    "empty out": Case(
        "predict runs/first pictures --out '' --workers 0", "name a folder", {"--out ''": "--out answers"}
    ),
    "no source": Case("predict runs/first", "(SOURCE) is missing", {"": " pictures --workers 0"}),
    "label": Case(
        "label runs/first digits",
        r"a teacher, a source and (--out) DIR",
        {"": " {} labels --limit 4 --workers 0 --device cpu"},
    ),
    "label batch": Case(
        "label runs/first digits --out labels --limit 4 --workers 0 --batch-size 99", r"99; (\d+) at most", {"99": "{}"}
    ),
    "models": Case("models van_b9", r"did you mean '(\w+)'", {"van_b9": "{}"}),
    "size of a model": Case("models van_b0 --size x", "a whole number is expected", {"--size x": "--size 64"}),
    "check-data": Case("check-data pictres --workers 0", r"did you mean (\w+)\?", {"pictres": "{}"}),
    "split": Case(
        "check-data pictures --split dev --workers 0", r"of which train and (val) can be made", {"dev": "{}"}
    ),
}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the digits, and pictures of two classes: whole, one of each, and some of them broken."""
    place = tmp_path_factory.mktemp("remedies")
    for folder, count in (("pictures", 12), ("one_each", 1), ("broken", 12)):
        for name, colour in (("cat", 40), ("dog", 200)):
            (place / folder / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (32 + number, 30), (colour, 9 * number, 90)).save(
                    place / folder / name / f"{number}.png"
                )
    for number in range(6):
        (place / "broken" / "cat" / f"{number}.png").write_bytes(b"<html>not found</html>")
    assert main([*DIGITS.split(), "--out", str(place / "runs" / "first")]) == 0
    return place


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """here(command): its exit status, in a folder with what `made` has."""
    import shlex
    import shutil

    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOLOVAN_DATA", raising=False)
    return lambda command: main(shlex.split(command))


@pytest.mark.parametrize("name", CASES)
def test_a_remedy_that_is_followed_works(name, here, capsys):
    case = CASES[name]
    assert here(case.typed) == 2
    said = capsys.readouterr().err.strip()
    found = re.search(case.says, said)
    assert found, said
    command = case.typed
    for part, new in case.instead.items():
        assert part in command
        new = new.replace("{}", found[1] if found.groups() else "")
        command = command.replace(part, new) if part else command + new
    assert here(command) == 0, f"{said}\n-> {command}\n{capsys.readouterr().err}"


def test_there_are_enough_of_them():
    assert len(CASES) >= 40
