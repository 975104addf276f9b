"""`volovan ablate`: train the rows of an ablation with several seeds, then write table and plot."""

import argparse
import json
import re
from pathlib import Path

from volovan.bench.ablation import Ablation, find_ablation, read_ablation
from volovan.bench.ablation_runs import Job, check_needs, plan, refuse_strangers, train_all
from volovan.engine.progress import speak
from volovan.engine.settings import SettingsError
from volovan.files.results import refuse_foreign, results
from volovan.files.whole import write_text

FILES = ("table.md", "table.csv", "plot.png", "speed.json")


def ablate(args: argparse.Namespace) -> int:
    """The verb, see volovan.verbs.ablate; returns 1 if a run failed, else 0."""
    ablation = read_ablation(find_ablation(args.file))
    seeds = list(dict.fromkeys(args.seeds or ablation.seeds))
    if min(seeds) < 0:
        raise SettingsError(f"--seeds {' '.join(map(str, seeds))}: whole numbers from 0 on are expected, --seeds 0 1 2")
    page = Path(args.page) if args.page else None
    if page is not None:
        text, _ = read_page(page, ablation)  # a page without a place is refused now, not after hours of training
        if _plot(page, ablation).exists() and _plot(page, ablation).name not in text:
            raise SettingsError(f"{_plot(page, ablation)} is there, but {page} does not show it; move it away")
    out = Path(args.out) if args.out else Path("runs") / "ablations" / ablation.name
    rows = [ablation.row(name) for name in args.rows] if args.rows else list(ablation.rows)
    words = args.set or []
    if len(words) % 2:
        raise SettingsError(f"--set {' '.join(words)}: keys with a value each are expected, --set data.limit 1000")
    more = {key.removeprefix("--"): value for key, value in zip(words[::2], words[1::2], strict=True)}
    refuse_foreign(out, FILES, "move it away, or name another folder with --out")
    jobs = plan(ablation, rows, seeds, out, more)
    refuse_strangers(jobs)
    if not args.table_only:
        check_needs(ablation, jobs)
    if not args.table_only or args.speed is not None:
        from volovan.bench.ablation_table import collect

        collect(ablation, jobs)  # refuses a network that cannot be built, or a metric that there is not, now
    failed = {} if args.table_only else train_all(jobs, args.jobs, args.processes, speak)
    with results(out, "ablate", lasting=("speed.json",), beside=None):
        if args.speed is not None:
            from volovan.bench.ablation_speed import measure_speeds

            speak(f"measured: {measure_speeds(jobs, args.speed, out)}")
        write_results(ablation, jobs, out, page)
    for title, reason in failed.items():
        speak(f"failed: {title}: {reason}")
    return 1 if failed else 0


def write_results(ablation: Ablation, jobs: list[Job], out: Path, page: Path | None) -> None:
    """table.md, table.csv and plot.png in `out`, the table printed, and both put into a page of documentation."""
    from volovan.bench.ablation_plot import draw_ablation
    from volovan.bench.ablation_table import collect, comma_separated, markdown

    measured = out / "speed.json"
    speed = json.loads(measured.read_text(encoding="utf-8")) if measured.is_file() else None
    found = collect(ablation, jobs, speed)
    text = markdown(ablation, found, speed)
    for name, content in (("table.md", text), ("table.csv", comma_separated(ablation, found))):
        write_text(out / name, content)
    plot = draw_ablation(ablation, found, out / "plot.png")
    speak(f"\n{text}\n{out / 'table.md'}, {out / 'table.csv'}, {plot}")
    if page is not None:
        picture = draw_ablation(ablation, found, _plot(page, ablation))
        update_page(page, ablation, text, picture)
        speak(f"{page} and {picture}")


def _plot(page: Path, ablation: Ablation) -> Path:
    return page.parent / "img" / f"ablation_{ablation.name}.png"


def update_page(page: Path, ablation: Ablation, text: str, picture: Path) -> None:
    """Replace what stands between `<!-- ablation NAME -->` and `<!-- /ablation -->` by plot and table."""
    old, block = read_page(page, ablation)
    begin, end = _marks(ablation)
    link = picture.relative_to(page.parent).as_posix()
    new = f"{begin}\n\n![{ablation.title}]({link})\n\n{text}\n{end}"
    write_text(page, block.sub(lambda _: new, old))


def read_page(page: Path, ablation: Ablation) -> tuple[str, re.Pattern[str]]:
    """(what the page holds, a pattern of the one place for the table); SettingsError if there is none."""
    begin, end = _marks(ablation)
    remedy = f"put the lines {begin} and {end} where it belongs"
    try:
        text = page.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(f"there is no page {page} for the table; make the file, and {remedy}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"page {page} cannot be read ({reason}); name a Markdown file with --page") from None
    block = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    if len(block.findall(text)) != 1:
        raise SettingsError(f"{page} has no single place for the table; {remedy}")
    return text, block


def _marks(ablation: Ablation) -> tuple[str, str]:
    return f"<!-- ablation {ablation.name} -->", "<!-- /ablation -->"
