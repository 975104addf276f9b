"""Words that no parser can read: one sentence in the user's terms, soon, and nothing of the libraries beneath."""

import json
import os
import subprocess
import sys
import time

import pytest

from volovan.cli import main
from volovan.engine import settings
from volovan.engine.settings import SettingsError, refuse_workers
from volovan.files.runs import runs_like
from volovan.use.recipes import packaged

FOREIGN = (
    "<class",
    "Parser key",
    "Traceback",
    "typing.",
    "Subtypes",
    "usage:",
    "weights=",
    "create_model(",
    "Literal[",
)


def said_of(words, capsys):
    assert main(words) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1, message
    assert not [word for word in FOREIGN if word in message], message
    return message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--optim.lr fast", "recipe digits_van: optim.lr is fast; expected a number"),
        ("--data.limit 3.5", "data.limit is 3.5; expected a whole number or null"),
        ("--train.ema x", "train.ema is x; expected a number or null"),
        ("--train.compile 7", "train.compile is 7; expected true or false"),
        ("--train.precision fp8", "train.precision is fp8; expected one of fp32, bf16, fp16"),
        ("--train.freeze 7", "train.freeze is 7; expected a list of texts such as [a,b]"),
        ("--augment.crop_scale 3", "augment.crop_scale is 3; expected two numbers such as [0.5,0.6]"),
        ("--augment.crop_scale [1,2,3]", "augment.crop_scale is [1, 2, 3]; expected two numbers"),
        ("--data.size a", "data.size is a; expected a whole number or two whole numbers such as [192,224]"),
        ("--data.mean [1,2]", "data.mean is [1, 2]; expected three numbers such as [0.5,0.6,0.7] or null"),
        ("--model.options foo", "model.options is foo; expected a mapping such as {key: value}"),
        ("--loss.class_weights often", "expected one of none, balanced or a list of numbers"),
        ("--data.size", "--data.size needs a value, a whole number or two"),
        ("--optim", "optim is a section; name a key of it, such as --optim.name VALUE"),
        ("--optim 3", "optim is a section; name a key of it"),
        ("--data.sise 3", "there is no key 'data.sise'; did you mean data.size?"),
        ("extra", "extra is a word too many; keys are written --section.key VALUE"),
        ("--batch x", "--batch is 'x'; a whole number is expected"),
    ],
)
def test_values_of_fit(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in said_of(["fit", "digits_van", *words.split()], capsys)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optim:\n  name: adamw\n  lr: fast", "line 3: optim.lr is fast; expected a number"),
        ("data: {size: big}", "line 1: data.size is big"),
        ("task: segment\naugment: {crop: [1, 2, 3]}", "line 2: augment.crop is [1, 2, 3]"),
        ("task: segment\ndata:\n  size: 96", "line 3: there is no key 'data.size' here; set augment.crop"),
    ],
)
def test_values_in_a_file_are_found_by_their_line(text, said, capsys, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(text)
    assert f"{recipe}, {said}" in said_of(["fit", str(recipe)], capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("validate", "MODEL is missing"),
        ("validate van_b0 --batch-size x", "--batch-size is 'x'; a whole number is expected"),
        ("validate van_b0 --bathc-size 3", "there is no option --bathc-size; did you mean --batch-size?"),
        ("validate van_b0 --precision fp8", "--precision is 'fp8'; one of fp32, bf16, fp16 is expected"),
        ("validate van_b0 --boundary", "--boundary is no option for van_b0, which is of the task classify"),
        ("predict van_b0", "SOURCE is missing"),
        ("predict van_b0 a.png --size", "--size needs at least one value"),
        ("probe van_b0", "SOURCE is missing"),
        ("label --verify a --convert b", "--convert and --verify do not go together"),
        ("check-data", "SOURCE is missing"),
        ("models van_b0 extra", "extra is a word too many"),
        ("ablate", "FILE is missing"),
        ("demo --epochs x", "--epochs is 'x'; a whole number is expected"),
        ("validate van_b0 --workers 5000", "--workers is 5000; this machine has"),
        ("predict van_b0 a.png --workers 5000", "--workers is 5000; this machine has"),
        ("probe van_b0 digits --workers 5000", "--workers is 5000; this machine has"),
        ("label van_b0 digits --out x --workers 5000", "--workers is 5000; this machine has"),
        ("check-data digits --workers 5000", "--workers is 5000; this machine has"),
        ("check-data digits --workers -1", "--workers is -1; at least 0 is needed"),
    ],
)
def test_values_of_other_verbs(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in said_of(words.split(), capsys)


def test_workers_are_measured_by_the_cores(monkeypatch):
    monkeypatch.setattr(settings.os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    refuse_workers("train.workers", 64)
    with pytest.raises(SettingsError, match=r"train\.workers is 65; this machine has 16 cores to use, and at most 64"):
        refuse_workers("train.workers", 65)
    monkeypatch.setattr(settings.os, "sched_getaffinity", lambda pid: {0}, raising=False)
    refuse_workers("train.workers", 12)  # as the recipes of the papers have it
    with pytest.raises(SettingsError, match="has 1 core to use, and at most 32 are taken: set it to 1 or fewer"):
        refuse_workers("train.workers", 500)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs below `runs`, one beside them."""
    for name in ("runs/flowers-20260101-120000", "runs/flowers-20260202-120000", "old/pets"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "recipe.yaml").write_text("task: classify")
    monkeypatch.chdir(tmp_path)


NEWEST = "runs/flowers-20260202-120000"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("validate runs/flowers", f"did you mean {NEWEST}?"),
        ("validate flowers", f"did you mean {NEWEST}?"),
        ("validate runs/flowres-20260202-120000", f"did you mean {NEWEST}?"),
        ("validate rnus/flowers-20260202-120000", f"did you mean {NEWEST}?"),
        ("predict old/pest x.png", "did you mean old/pets?"),
        ("label old/pest digits --out x", "did you mean old/pets?"),
        ("probe old/pest digits", "did you mean old/pets?"),
        ("validate runs", f"did you mean {NEWEST}?"),
        ("validate nothing/like/it", "nothing/like/it: there is no such run folder or file"),
        ("predict nothing.pth x.png", "nothing.pth: there is no such run folder or file"),
        ("fit --resume runs/flowers", f"did you mean {NEWEST}?"),
        ("fit --resume nowhere", "no run folder"),
        ("fit runs/flowers", f"did you mean a run? volovan fit --resume {NEWEST}"),
        (f"fit {NEWEST}", f"{NEWEST} is a run; volovan fit --resume {NEWEST} goes on with it"),
        ("fit unheard_of", "`volovan fit` lists the packaged ones"),
    ],
)
def test_a_mistyped_run_is_said_with_those_like_it(words, said, runs, capsys):
    message = said_of(words.split(), capsys)
    assert said in message
    assert sum(name.split("/")[1] in message for name in packaged()) <= 1


def test_runs_like_a_word_need_no_readable_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert runs_like("a/b") == runs_like("") == runs_like("/") == []


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "finetune_masks"],
        ["fit", "finetune_folder", "--data.source", "nowhere"],
        ["fit", "shapes_edn", "--data.val", "nowhere"],
        ["fit", "volo_d1", "--data.source", "digits", "--labels.source", "nowhere"],
        ["fit", "digits_van", "--model.weights", "nowhere.pth"],
        ["fit", "digits_van", "--train.workers", "5000"],
        ["fit", "finetune_saliency", "--data.size", "96"],
        ["validate", "runs/nowhere"],
        ["predict", "runs/nowhere", "x.png"],
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_said_without_torch(words, tmp_path):
    """Seconds of imports come after the checks that need none of them."""
    code = f"""
import json, sys, time
from volovan.cli import main
begin = time.process_time()
status = main({words!r})
heavy = [name for name in ("torch", "timm", "transformers", "torchvision", "matplotlib") if name in sys.modules]
print(json.dumps([status, heavy, time.process_time() - begin]))
"""
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    status, heavy, seconds = json.loads(done.stdout)
    assert (status, heavy) == (2, []), done.stderr
    assert seconds < 2, f"{time.monotonic() - begin:.1f} s, of which {seconds:.1f} s of this process"
    assert (
        "nowhere" in done.stderr or "--data." in done.stderr or "is 5000" in done.stderr or "mixed_sizes" in done.stderr
    )


@pytest.mark.slow
def test_no_warning_of_a_library_is_shown(tmp_path):
    """More loader processes than cores, two processes of a run: what torch would say of both is ours to say or not."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    words = ["fit", "digits_van", "--train.max_steps", "1", "--data.limit", "32", "--train.batch_size", "16"]
    words += ["--train.workers", str(cores + 1), "--train.device", "cpu", "--out", "run"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "volovan"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, *words], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "arning" not in done.stderr, done.stderr
