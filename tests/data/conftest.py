import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("VOLOVAN_CACHE", str(folder))
    return folder


@pytest.fixture
def jpeg() -> Callable[..., bytes]:
    """jpeg(seed, size): a small picture, different for every seed."""

    def make(seed: int = 0, size: tuple[int, int] = (12, 9)) -> bytes:
        generator = np.random.default_rng(seed)
        coarse = Image.fromarray(generator.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG")
        return file.getvalue()

    return make


@pytest.fixture
def class_tree(tmp_path: Path, jpeg: Callable[..., bytes]) -> Callable[..., Path]:
    """class_tree({"cat": 3, ...}, below="train"): root with that many pictures per class."""

    def make(counts: dict[str, int], below: str = "", root: Path = tmp_path / "set") -> Path:
        for place, (name, count) in enumerate(counts.items()):
            folder = root / below / name
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number:03}.jpg").write_bytes(jpeg(hash((below, place, number)) % 2**32))
        return root

    return make


@pytest.fixture
def lay(tmp_path: Path, jpeg: Callable[..., bytes]) -> Callable[..., None]:
    """lay("images/a.jpg", "masks/a.png", 0, 1): a picture of 12 x 9 and a mask that holds these values; "": none."""

    def make(picture: str, mask: str, *values: int) -> None:
        if picture:
            (tmp_path / picture).parent.mkdir(parents=True, exist_ok=True)
            seed = int(hashlib.md5(picture.encode()).hexdigest(), 16) % 2**31
            (tmp_path / picture).write_bytes(jpeg(seed, (12, 9)))
        if mask:
            (tmp_path / mask).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.resize(np.array(values, np.uint8), (9, 12))).save(tmp_path / mask)

    return make
