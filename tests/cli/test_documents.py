"""README and docs: every command and snippet in a fenced `bash` or `python` block runs; the zoo table is the code's."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from volovan import create_model
from volovan.cli import main
from volovan.models.weights import get_entry

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), flags=re.M | re.S)


@pytest.fixture
def place(tmp_path, run_folder):
    """A folder with what a page assumes: pictures of two classes, new ones, and weights to start from."""
    folder = tmp_path / "documents"
    for path, colour in (("pictures/cat", 40), ("pictures/dog", 200), ("new_pictures", 120)):
        (folder / path).mkdir(parents=True)
        for number in range(12):
            Image.effect_noise((70 + number, 60), colour / 2).convert("RGB").save(folder / path / f"{number}.jpg")
    (folder / "weights").symlink_to(run_folder)
    return folder


def shortened(words: list[str]) -> list[str]:
    """A `fit` as printed, cut to two steps, from the small net's weights, since there may be no network here."""
    if words[:2] == ["fit", "finetune_folder"] and "--help" not in words:
        words = [*words, "--model.name", "van", "--model.weights", "weights", "--data.size", "32"]
        words += ["--train.batch_size", "4"]
    if words[0] == "fit" and "--help" not in words and "--resume" not in words:
        words = [*words, "--train.max_steps", "2"]
    return words


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A cache of the hub as its client keeps it, with random weights in the files that the documents fetch."""
    cache = tmp_path_factory.mktemp("hub")
    for name in ("volo_d1_224", "volo_d1_384", "van_b2"):
        entry = get_entry(name)
        source = entry.sources[0]
        folder = cache / "hub" / f"models--{source.repo.replace('/', '--')}"
        file = folder / "snapshots" / "0" / source.file
        file.parent.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0")
        state = create_model(entry.model, img_size=entry.size).state_dict()
        if file.suffix == ".safetensors":
            save_file(state, file)
        else:
            torch.save({"state_dict": state}, file)
    return cache


LONG = ("docs/models.md", "docs/transfer.md")  # a quarter of a minute each; run with -m slow


@pytest.mark.parametrize("page", [pytest.param(page, marks=[pytest.mark.slow] * (page in LONG)) for page in PAGES])
def test_commands_and_snippets_of_the_documents_run(page, place, monkeypatch, request):
    """A page is a place of its own: first its commands, then its snippets, which read what the commands made."""
    monkeypatch.chdir(place)
    for block in blocks(page, "bash"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            assert words[0] == "volovan", f"{page}: {line}"
            try:
                status = main(shortened(words[1:]))
            except SystemExit as leave:  # --help
                status = leave.code
            assert not status, f"{page}: {line}"
    if blocks(page, "python"):
        run_snippets(page, place, request.getfixturevalue("hub"))


def run_snippets(page, place, hub):
    """All blocks of a page in one process, since later ones build on earlier ones; the hub is the cache above."""
    fetched = next(hub.glob("hub/*VAN-Base*/snapshots/0/*"))
    (place / fetched.name).symlink_to(fetched)
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:volovan", "-c", "\n".join(blocks(page, "python"))],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(hub), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{page}:\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_documents_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


@pytest.mark.slow
def test_zoo_table_is_the_one_that_the_code_prints(capsys):
    main(["models", "--markdown"])
    table = capsys.readouterr().out.strip()
    text = (ROOT / "README.md").read_text()
    found = re.search(r"<!-- zoo -->\n(.*)\n<!-- /zoo -->", text, flags=re.S)
    assert found
    assert found[1] == table, "README: paste the output of `volovan models --markdown` between the zoo marks"


ABLATIONS = {
    "van_b0": [
        ("`use_dw=False`", {"use_dw": False}),
        ("`layer_scale=None`", {"layer_scale": None}),
        ("`sigmoid=True`", {"sigmoid": True}),
    ],
    "volo_d1": [
        ('`mixers=("local"', {"mixers": ("local", "attention", "attention", "attention")}),
        ('`mixers=("conv"', {"mixers": ("conv", "attention", "attention", "attention")}),
        ("`num_heads=(12", {"num_heads": (12, 12, 12, 12)}),
        ("`outlook_kernel=5`", {"outlook_kernel": 5}),
        ("`class_blocks=0", {"class_blocks": 0, "dense_head": False, "mean_head": True}),
        ("| `dense_head=False`", {"dense_head": False}),
    ],
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablation_tables_state_the_counts_of_the_code(name):
    lines = (ROOT / "docs" / "models.md").read_text().splitlines()
    for text, settings in ABLATIONS[name]:
        line = next(line for line in lines if text in line)
        with torch.device("meta"):
            count = sum(p.numel() for p in create_model(name, **settings).parameters())
        assert f"{count:,}" in line, f"{line} should say {count:,}"
