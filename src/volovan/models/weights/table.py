"""Table of published checkpoints: where each lies, its licence, preprocessing and published top-1.

Sources: VOLO README and release `volo_1` (sail-sg/volo), VAN README and model hub (Visual-Attention-Network), Token
Labeling README and releases `1.0`, `v0.2.0` (zihangJiang/TokenLabeling), model zoo of OpenMMLab (VAN B4 to B6), result
tables of timm (second measurement of VOLO). A hash is given only where the published file name carries it (first eight
digits of the SHA-256). Google Drive and Baidu links of the READMEs are left out: they cannot be fetched by a program.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath

from volovan.models.preprocessing import Preprocessing, default_preprocessing

ASK_AUTHORS = "Apache-2.0; the README asks to contact the authors for commercial use"


@dataclass(frozen=True)
class Source:
    """One place where a file lies: a file of a hub repository, or an address."""

    layout: str  # whose parameter names the file uses: original, timm, mmpretrain, transformers
    repo: str | None = None
    file: str | None = None
    url: str | None = None
    sha256: str | None = None  # first digits, where the file name carries them

    @property
    def address(self) -> str:
        """Where a person would download the file."""
        return self.url or f"https://huggingface.co/{self.repo}/resolve/main/{self.file}"

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.url or self.file or "").name


@dataclass(frozen=True)
class Result:
    """Top-1 and top-5 on ImageNet-1K val in percent, at a crop ratio, and who says so."""

    top1: float
    top5: float | None
    crop_pct: float
    source: str


@dataclass(frozen=True)
class Entry:
    """One set of published weights; `sources` hold the same weights, the first is preferred."""

    name: str
    model: str
    size: int
    trained_on: str
    num_classes: int
    preprocessing: Preprocessing
    licence: str
    sources: tuple[Source, ...]
    published: Result | None = None
    measured: Result | None = None  # by others, on the same weights
    note: str = ""


def list_weights(pattern: str = "*") -> list[str]:
    """Names of the table that match a shell pattern, such as "volo_d1*"."""
    return [name for name in TABLE if fnmatch(name, pattern)]


def get_entry(name: str) -> Entry:
    """Row of the table by name; the name of a model gives its default row.

    Raises ValueError with the nearest names if there is none.
    """
    found = TABLE.get(name) or default_entry(name)
    if found is None:
        near = difflib.get_close_matches(name, [*TABLE, *(entry.model for entry in TABLE.values())], n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(dict.fromkeys(near))}" if near else f"known: {', '.join(TABLE)}"
        raise ValueError(f"no published weights are named {name!r}; {hint}")
    return found


def default_entry(model: str) -> Entry | None:
    """The weights that pretrained=True takes: ImageNet-1K before 22K, the smallest size first, or None."""
    rows = [entry for entry in TABLE.values() if entry.model == model]
    return min(rows, key=lambda entry: (entry.num_classes != 1000, entry.size), default=None)


_FAMILIES = {  # what they were trained on, licence, and who published the top-1
    "volo": ("ImageNet-1K, token labels", ASK_AUTHORS, "README of sail-sg/volo"),
    "van": ("ImageNet-1K", ASK_AUTHORS, "paper, table 7"),
    "lvvit": ("ImageNet-1K, token labels", "Apache-2.0", "README of zihangJiang/TokenLabeling"),
}
# Columns: model, size, published top-1, official file, then what timm measured on the same weights: top-1, top-5, crop.
_VOLO = (
    ("volo_d1", 224, 84.2, "d1_224_84.2", 84.148, 96.772, 0.96),
    ("volo_d1", 384, 85.2, "d1_384_85.2", 85.262, 97.218, 1.0),
    ("volo_d2", 224, 85.2, "d2_224_85.2", 85.204, 97.186, 0.96),
    ("volo_d2", 384, 86.0, "d2_384_86.0", 86.054, 97.582, 1.0),
    ("volo_d3", 224, 85.4, "d3_224_85.4", 85.440, 97.274, 0.96),
    ("volo_d3", 448, 86.3, "d3_448_86.3", 86.514, 97.710, 1.0),
    ("volo_d4", 224, 85.7, "d4_224_85.7", 85.868, 97.464, 0.96),
    ("volo_d4", 448, 86.79, "d4_448_86.79", 86.788, 97.880, 1.15),
    ("volo_d5", 224, 86.10, "d5_224_86.10", 86.076, 97.574, 0.96),
    ("volo_d5", 448, 87.0, "d5_448_87.0", 86.974, 97.928, 1.15),
    ("volo_d5", 512, 87.07, "d5_512_87.07", 87.068, 97.970, 1.15),
)
# Columns: model, published top-1, old name, top-1 and top-5 that OpenMMLab measured, hash in its file name.
_VAN = (
    ("van_b0", 75.4, "tiny", "754", 75.41, 93.02, "385941af"),
    ("van_b1", 81.1, "small", "811", 81.01, 95.63, "17bc91aa"),
    ("van_b2", 82.8, "base", "828", 82.80, 96.21, "6a4cc31b"),
    ("van_b3", 83.9, "large", "839", 83.86, 96.73, "f212ba21"),
)
_VAN_22K = (("van_b4", "db926b18"), ("van_b5", "18e904e3"), ("van_b6", "96c2cb3a"))
# Columns: model, size, published top-1, file in the releases of zihangJiang/TokenLabeling.
_LVVIT = (
    ("lvvit_t", 224, 79.1, "v0.2.0/lvvit_t.pth"),
    ("lvvit_s", 224, 83.3, "1.0/lvvit_s-26M-224-83.3.pth.tar"),
    ("lvvit_s", 384, 84.4, "1.0/lvvit_s-26M-384-84.4.pth.tar"),
    ("lvvit_m", 224, 84.0, "1.0/lvvit_m-56M-224-84.0.pth.tar"),
    ("lvvit_m", 384, 85.4, "1.0/lvvit_m-56M-384-85.4.pth.tar"),
    ("lvvit_m", 448, 85.5, "1.0/lvvit_m-56M-448-85.5.pth.tar"),
    ("lvvit_l", 448, 86.2, "1.0/lvvit_l-150M-448-86.2.pth.tar"),
    ("lvvit_l", 512, 86.4, "1.0/lvvit_l-150M-512-86.4.pth.tar"),
)
_MM = "https://download.openmmlab.com/mmclassification/v0/van"
_ORG = "Visual-Attention-Network"


def _entry(name: str, size: int, top1: float, sources: tuple[Source, ...], measured: Result | None = None) -> Entry:
    """Weights for ImageNet-1K, evaluated by their authors with the preprocessing of the variant."""
    model = name.removesuffix(f"_{size}")
    trained_on, licence, said_by = _FAMILIES[model.split("_")[0]]
    seen = default_preprocessing(model, (size, size))
    published = Result(top1, None, seen.crop_pct, said_by)
    return Entry(name, model, size, trained_on, 1000, seen, licence, sources, published, measured)


def _entries() -> Iterator[Entry]:
    for model, size, top1, file, timm1, timm5, crop in _VOLO:
        timm = Source("timm", repo=f"timm/{model}_{size}.sail_in1k", file="model.safetensors")
        url = f"https://github.com/sail-sg/volo/releases/download/volo_1/{file}.pth.tar"
        measured = Result(timm1, timm5, crop, "result tables of timm")
        yield _entry(f"{model}_{size}", size, top1, (timm, Source("original", url=url)), measured)
    for model, top1, old, digits, mm1, mm5, sha256 in _VAN:
        sources = (
            Source("original", repo=f"{_ORG}/VAN-{old.title()}-original", file=f"van_{old}_{digits}.pth.tar"),
            Source("transformers", repo=f"{_ORG}/van-{old}", file="pytorch_model.bin"),
            Source("mmpretrain", url=f"{_MM}/van-{old}_8xb128_in1k_20220501-{sha256}.pth", sha256=sha256),
        )
        yield _entry(model, 224, top1, sources, Result(mm1, mm5, 0.9, "model zoo of mmpretrain"))
    b4 = Source("mmpretrain", url=f"{_MM}/van-b4_3rdparty_in1k_20220909-f4665b92.pth", sha256="f4665b92")
    yield _entry("van_b4", 224, 84.2, (b4,), Result(84.13, 96.86, 0.9, "model zoo of mmclassification 0.x"))
    for model, sha256 in _VAN_22K:
        url = f"{_MM}/van-{model.removeprefix('van_')}_3rdparty_in21k_20220909-{sha256}.pth"
        yield Entry(
            name=f"{model}_in22k",
            model=model,
            size=224,
            trained_on="ImageNet-22K",
            num_classes=21841,
            preprocessing=Preprocessing((224, 224), crop_pct=0.875),
            licence=ASK_AUTHORS,
            sources=(Source("mmpretrain", url=url, sha256=sha256),),
            note="for fine-tuning: the fine-tuned ImageNet-1K weights were never released",
        )
    for model, size, top1, file in _LVVIT:
        url = f"https://github.com/zihangJiang/TokenLabeling/releases/download/{file}"
        yield _entry(f"{model}_{size}", size, top1, (Source("original", url=url),))


TABLE: dict[str, Entry] = {entry.name: entry for entry in _entries()}
