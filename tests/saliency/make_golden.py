"""Values of pysodmetrics on drawn maps, for test_metrics.py: python tests/saliency/make_golden.py

pysodmetrics wants an older NumPy than the package, so its values are kept in tests/golden/saliency_metrics.json and it
is no dependency. Written with pysodmetrics 1.6.
"""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden" / "saliency_metrics.json"
SIZES = {"square": (64, 64), "wide": (33, 90), "tall": (71, 20), "tiny": (5, 8), "point": (1, 1)}


def cases() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, map (H, W) from 0 to 1, mask (H, W) uint8): all sizes, all kinds."""
    for number, (size, (height, width)) in enumerate(SIZES.items()):
        draw = np.random.default_rng(number)
        rows, columns = np.mgrid[:height, :width]
        inside = ((rows - 0.45 * height) / height) ** 2 + ((columns - 0.6 * width) / width) ** 2 < 0.08
        mask = np.where(inside, 255, 0).astype(np.uint8)
        noisy = np.clip(0.6 * inside + 0.4 * draw.random((height, width)), 0, 1)
        yield f"{size} noisy", noisy, mask
        yield f"{size} shifted", np.roll(noisy**2, (2, 3), (0, 1)), mask
        yield f"{size} random", draw.random((height, width)), mask
        yield f"{size} perfect", inside.astype(np.float64), mask
        yield f"{size} zero", np.zeros((height, width)), mask
        yield f"{size} one", np.ones((height, width)), mask
        yield f"{size} constant", np.full((height, width), 0.3), mask
        yield f"{size} empty mask", noisy, np.zeros_like(mask)
        yield f"{size} full mask", noisy, np.full_like(mask, 255)
        yield f"{size} soft mask", noisy, draw.integers(0, 256, (height, width)).astype(np.uint8)


def oracle(prediction: np.ndarray, mask: np.ndarray, as_files: bool) -> dict[str, float]:
    """What pysodmetrics says. as_files: of 8-bit maps, whose range it stretches; else of the floats as they are."""
    import py_sod_metrics as sod

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tools = {"f": sod.Fmeasure(), "mae": sod.MAE(), "s": sod.Smeasure(), "e": sod.Emeasure()}
        tools["w"] = sod.WeightedFmeasure()
        for tool in tools.values():
            if as_files:
                tool.step(np.rint(255 * prediction).astype(np.uint8), mask)
            else:
                tool.step(prediction, mask > 128, normalize=False)
        found = {name: tool.get_results() for name, tool in tools.items()}
    f, e, precision = found["f"]["fm"], found["e"]["em"], found["f"]["pr"]
    return {
        "mae": float(found["mae"]["mae"]),
        "maxf255": float(f["curve"].max()),
        "meanf": float(f["curve"].mean()),
        "adpf": float(f["adp"]),
        "maxe": float(e["curve"].max()),
        "meane": float(e["curve"].mean()),
        "adpe": float(e["adp"]),
        "s": float(found["s"]["sm"]),
        "weighted_f": float(found["w"]["wfm"]),
        "precision at 128": float(precision["p"][255 - 128]),  # its curves fall from 255 to 0
        "recall at 128": float(precision["r"][255 - 128]),
    }


def main() -> None:
    values = {
        f"{name}, {'files' if as_files else 'floats'}": oracle(prediction, mask, as_files)
        for name, prediction, mask in cases()
        for as_files in (True, False)
    }
    GOLDEN.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    print(f"{len(values)} cases in {GOLDEN}")


if __name__ == "__main__":
    main()
