"""The figures of COCO by `volovan validate` beside pycocotools and faster-coco-eval, in one run.

Ours is what a validation does once all pictures have gone through the network: DetectionMetric.finish over rows that
were kept, boxes and masks, VOC's figure included. The others read the annotation and a list of results, match, sum up
and accumulate boxes and then masks. Of ours the keeping of rows (judging each picture, runs of the masks) is a row of
its own, `keep`; the others' encoding of masks is not counted at all. faster-coco-eval takes part where it is installed.

Detections are the annotated objects, each `--times` over, moved, some with another class. By default they are of drawn
scenes; --data takes a folder of COCO. Before any rate is printed all sides must agree on all figures.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, Row, print_table, rate_columns, write_table

from volovan.bench.timing import interleave, median_ratio

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
from detections import CLASSES, FIGURES, coco_json, jittered, metric_of, scenes
from volovan.data import open_source
from volovan.room.found import coco_results

KINDS = {"bbox": "", "segm": "mask_"}


def theirs(
    library: str, said: dict[str, Any], results: list[dict[str, Any]], out: dict[str, float]
) -> Callable[[], int]:
    """Both kinds by a library with the classes of pycocotools; ImportError where it is not installed."""
    if library == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    bare = [{key: value for key, value in one.items() if key != "bbox"} for one in results]
    entries = {"bbox": results, "segm": bare}

    def run() -> int:
        with contextlib.redirect_stdout(io.StringIO()):
            there = COCO()
            there.dataset = said
            there.createIndex()
            for kind, prefix in KINDS.items():
                scorer = COCOeval(there, there.loadRes([dict(one) for one in entries[kind]]), kind)
                scorer.evaluate()
                scorer.accumulate()
                scorer.summarize()
                out.update({prefix + name: float(one) for name, one in zip(FIGURES, scorer.stats, strict=False)})
        return len(said["images"])

    return run


def main(argv: list[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a folder of COCO; default: drawn scenes")
    parser.add_argument("--count", type=int, default=200, help="scenes to draw")
    parser.add_argument("--times", type=int, default=4, help="detections for each object")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    args = parser.parse_args(argv)
    if args.data:
        source = open_source(args.data, "val", kind="boxes")
        classes: tuple[str, ...] = source.classes
        pictures = [(source.target(k), source.load(k).size[::-1]) for k in range(len(source))]
    else:
        classes, pictures = CLASSES, scenes(args.count)
    founds = [jittered(*one, seed=k, times=args.times, classes=len(classes)) for k, one in enumerate(pictures)]
    results = [entry for k, one in enumerate(founds) for entry in coco_results(one, k, range(999), pictures[k][1])]
    said = coco_json(pictures, len(classes))
    kept: dict[str, Any] = {"metric": metric_of(pictures, founds, classes)}
    figures: dict[str, dict[str, float]] = {"ours": {}}

    def keep() -> int:
        kept["metric"] = metric_of(pictures, founds, classes)
        return len(pictures)

    def finish() -> int:
        kept["metric"].rows = dict(kept["metric"].rows)  # so that nothing that was computed before is used
        figures["ours"] |= kept["metric"].finish()
        return len(pictures)

    cases: dict[str, Callable[[], int]] = {"ours": finish, "keep": keep}
    for name in ("pycocotools", "faster-coco-eval"):
        with contextlib.suppress(ImportError):
            figures[name] = {}
            cases[name] = theirs(name, said, results, figures[name])
    rates = interleave(cases, args.rounds)
    require_agreement(figures)
    about: Row = {"pictures": len(pictures), "detections": len(results), "rounds": args.rounds}
    rows = [{"side": side, **about, **rate_columns(rates[side])} for side in cases]
    rows[0] |= {f"of_{other}": round(median_ratio(rates["ours"], rates[other]), 2) for other in list(cases)[2:]}
    print_table(rows)
    path = write_table("coco_scores", rows, torch.device("cpu"), args.out)
    print(f"wrote {path}")
    return path


def require_agreement(figures: dict[str, dict[str, float]]) -> None:
    """A comparison of speed means nothing between sides that compute different things."""
    for other, values in figures.items():
        for name, value in values.items() if other != "ours" else ():
            own = figures["ours"][name]
            if not (value < 0 and own != own) and abs(own - value) > 1e-12:
                raise SystemExit(f"{name} differs, so no rates are given: ours {own}, {other} {value}")


if __name__ == "__main__":
    main()
