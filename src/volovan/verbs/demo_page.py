"""The page of `volovan demo`: one HTML file that holds its pictures."""

import base64
import csv
import html
from pathlib import Path

from volovan.files.whole import write_text
from volovan.verbs.demo_tasks import Demo, Result

_WIDE = 1.6
"""a picture that is wider than this many times its height takes the whole width of the page"""


def write_page(folder: Path, demo: Demo, results: dict[str, Result], seconds: float) -> Path:
    """index.html in the folder of a demo."""
    from volovan.engine.figures import curves_figure
    from volovan.engine.run import read_table

    tables = {name: read_table(result.folder / "metrics.csv") for name, result in results.items()}
    curves = curves_figure(tables, *demo.curve, folder / "curves.png")
    heads = ["network", "recipe", *(column.heading for column in demo.columns), "time"]
    rows, parts = [], []
    for name, result in results.items():
        values = (column.say(result.metrics) for column in demo.columns)
        rows.append([name, result.recipe, *values, f"{result.seconds:.0f} s"])
        classes = result.folder / "validation" / "per_class.csv"
        table = _classes(classes) if demo.curve[0] == "miou" and classes.is_file() else ""
        figures = "".join(_figure(result, path, caption) for path, caption in demo.figures.items())
        parts.append(f"<h2>{name}</h2>{table}<div class=figures>{figures}</div>")
    page = folder / "index.html"
    write_text(
        page,
        _PAGE.format(
            title=demo.title,
            intro=demo.intro,
            seconds=f"{seconds:.0f}",
            folder=html.escape(str(folder)),
            table=_table(heads, rows),
            curves=_picture(curves),
            parts="".join(parts),
            follow=demo.follow,
        ),
    )
    return page


def _classes(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    units = ["class", *(f"{name.replace('iou', 'IoU')}, %" for name in head[1:])]
    return _table(units, [[row[0], *(f"{float(value):.1f}" for value in row[1:])] for row in rows])


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = ["".join(f"<th>{html.escape(head)}</th>" for head in heads)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _figure(result: Result, path: str, caption: str) -> str:
    """Nothing where validate or predict had no reason to draw it."""
    file = result.folder / path
    if not file.is_file():
        return ""
    from PIL import Image

    with Image.open(file) as image:
        wide = " class=wide" if image.width > _WIDE * image.height else ""
    said = caption.format(folder=html.escape(str(result.folder)))
    return f"<figure{wide}>{_picture(file)}<figcaption>{said}</figcaption></figure>"


def _picture(path: Path) -> str:
    """An <img> that holds the picture itself, so that the page can be moved."""
    return f'<img alt="{path.stem}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>volovan demo: {title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1c1e21 }}
img {{ max-width: 100%; height: auto }}
table {{ border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }}
td, th {{ padding: .3rem .9rem; border-bottom: 1px solid #d5d8dc; text-align: left }}
.figures {{ display: grid; gap: 1.5rem; align-items: start }}
.figures {{ grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)) }}
.wide {{ grid-column: 1 / -1 }}
figure {{ margin: 0 }} figcaption {{ color: #6b7075; font-size: .9rem }}
</style></head><body>
<h1>{title}</h1>
<p>{intro} All of it took {seconds} s on this machine; the runs are in <code>{folder}</code>.</p>
{table}
<h2>Learning curves</h2><figure>{curves}</figure>
{parts}
<h2>Next</h2>
<p>{follow}; <code>volovan --help</code> lists the rest.</p>
</body></html>
"""
