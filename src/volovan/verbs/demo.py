"""volovan demo: two small networks trained, validated and used on the embedded digits, and a page that shows it."""

from __future__ import annotations

import argparse
import base64
import html
import json
import os
import sys
import time
import webbrowser
from pathlib import Path
from typing import Any

from volovan.verbs import call, fit, predict, validate

NETS = {"VAN": "digits_van", "VOLO": "digits_volo"}
PICTURES = 36


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", help="folder of runs, pictures and page; default runs/demo-DATE")
    parser.add_argument("--no-open", action="store_true", help="name the page, but do not open it in a browser")
    parser.add_argument("--epochs", type=int, help="train for so many epochs instead of the recipes' number")


def run(args: argparse.Namespace) -> int:
    begin = time.perf_counter()
    folder = Path(args.out) if args.out else Path("runs") / f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
    folder.mkdir(parents=True, exist_ok=True)
    pictures = _write_pictures(folder / "pictures")
    results = {}
    for number, (name, recipe) in enumerate(NETS.items(), 1):
        print(f"\n[{number}/{len(NETS)}] a small {name}: volovan fit {recipe}", flush=True)
        results[name] = _one_net(recipe, folder / name.lower(), pictures, args.epochs)
    page = _write_page(folder, results, time.perf_counter() - begin)
    scores = ", ".join(f"{name} {result['metrics']['top1']:.1f} %" for name, result in results.items())
    print(f"\n{scores} of the validation digits right")
    print(f"The page: {page.resolve().as_uri()}")
    if not args.no_open and sys.stdout.isatty() and (os.environ.get("DISPLAY") or sys.platform in ("darwin", "win32")):
        webbrowser.open(page.resolve().as_uri())
    return 0


def _write_pictures(folder: Path) -> Path:
    """Some validation digits as PNG files, so that `predict` starts from files as a user's would."""
    from volovan.data import open_source

    folder.mkdir(parents=True, exist_ok=True)
    source = open_source("digits", "val")
    step = len(source) // PICTURES
    for number in range(PICTURES):
        source.load(number * step).save(folder / f"digit_{number:02d}.png")
    return folder


def _one_net(recipe: str, folder: Path, pictures: Path, epochs: int | None) -> dict[str, Any]:
    """fit, validate and predict through the verbs themselves."""
    begin = time.perf_counter()
    more = ["--schedule.epochs", str(epochs), "--schedule.warmup_epochs", "0"] if epochs else []
    call(fit, "fit", "", [recipe, "--out", str(folder), *more])
    call(validate, "validate", "", [str(folder), "--out", str(folder / "validation"), "--workers", "0"])
    words = [str(folder), str(pictures), "--out", str(folder / "predictions"), "--workers", "0"]
    call(predict, "predict", "", words)
    metrics = json.loads((folder / "validation" / "metrics.json").read_text())
    return {"recipe": recipe, "folder": folder, "metrics": metrics, "seconds": time.perf_counter() - begin}


def _write_page(folder: Path, results: dict[str, dict[str, Any]], seconds: float) -> Path:
    from volovan.classify.draw import draw_curves
    from volovan.engine.run import read_table

    tables = {name: read_table(result["folder"] / "metrics.csv") for name, result in results.items()}
    curves = draw_curves(tables, folder / "curves.png")
    rows = "".join(
        f"<tr><td>{name}</td><td>{result['recipe']}</td><td>{result['metrics']['top1']:.2f} %</td>"
        f"<td>{result['metrics']['ece']:.3f}</td><td>{result['metrics']['pictures']}</td>"
        f"<td>{result['seconds']:.0f} s</td></tr>"
        for name, result in results.items()
    )
    parts = "".join(
        f"<h2>{name}</h2><div class=pair><figure>{_picture(result['folder'] / 'validation' / 'confusion.png')}"
        f"<figcaption>Confusion matrix on the validation digits.</figcaption></figure>"
        f"<figure>{_picture(result['folder'] / 'predictions' / 'sheet.png')}"
        f"<figcaption>Predictions of <code>volovan predict {html.escape(str(result['folder']))} PICTURES</code>."
        f"</figcaption></figure></div>"
        for name, result in results.items()
    )
    page = folder / "index.html"
    page.write_text(
        _PAGE.format(rows=rows, curves=_picture(curves), parts=parts, seconds=f"{seconds:.0f}", folder=folder),
        encoding="utf-8",
    )
    return page


def _picture(path: Path) -> str:
    """An <img> that holds the picture itself, so that the page can be moved."""
    return f'<img alt="{path.stem}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>volovan demo</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1c1e21 }}
img {{ max-width: 100%; height: auto }}
table {{ border-collapse: collapse }}
td, th {{ padding: .3rem .9rem; border-bottom: 1px solid #d5d8dc; text-align: left }}
.pair {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1.5rem; align-items: start }}
figure {{ margin: 0 }} figcaption {{ color: #6b7075; font-size: .9rem }}
</style></head><body>
<h1>volovan demo</h1>
<p>Two small networks, trained from scratch on the 1,797 handwritten digits that come with the package (UCI, CC BY 4.0),
then validated and used on picture files. All of it took {seconds} s on this machine; the runs are in
<code>{folder}</code>.</p>
<table><tr><th>network</th><th>recipe</th><th>top-1</th><th>calibration error</th><th>validation pictures</th>
<th>time</th></tr>{rows}</table>
<h2>Learning curves</h2><figure>{curves}</figure>
{parts}
<h2>Next</h2>
<p><code>volovan fit finetune_folder --data.source YOUR_FOLDER</code> trains on pictures of your own, one folder per
class; <code>volovan --help</code> lists the rest.</p>
</body></html>
"""
