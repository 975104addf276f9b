"""An ablation file: the rows of a paper's table as a base recipe, what each row changes, and what was published.

title: VAN, table 3              heading of the table and the plot; default: the file's name
source: arXiv 2202.09741         where the published values come from; needed as soon as a row has some
base: cifar10_ablate_van         a recipe: a packaged name, or a file, looked for beside this one first
seeds: [0, 1]                    train.seed of the repetitions; default 0 1 2
classes: 10                      of the data, for parameters and GMACs of rows without a run; default: ask the data
metric: top1                     the column of the runs' metrics.csv that is compared; default: what chooses the best
set: {data.limit: 1000}          recipe keys for all rows; --set and a row's own set go over them
needs: {labels.source: what}     keys that the user must give with --set, and what they should hold
reference: VAN                   the row that others are compared with; default: the first
rows:
  - name: without DW-Conv
    set: {model.options.use_dw: false}      any keys of the recipe
    base: van_b1                            another base for this row alone
    start: VAN                              begin from the best checkpoint of an earlier row, same seed
    against: VAN                            another reference for this row alone
    published: {top1: 74.9}                 also params (millions), gmacs, images_per_s
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volovan.engine.settings import SettingsError
from volovan.files.nearest import nearest, nearest_or_all
from volovan.use.recipes import find_recipe, read_mapping, read_recipe
from volovan.use.rooms import ROOMS

PACKAGED = Path(__file__).parent / "ablations"
FILE_KEYS = ("title", "source", "base", "seeds", "classes", "metric", "set", "needs", "reference", "rows")
ROW_KEYS = ("name", "set", "base", "start", "against", "published")
COSTS = ("params", "gmacs", "images_per_s")


@dataclass(frozen=True)
class Row:
    """A row: `shared`, then `--set`, then `changes` laid over the recipe `base`; `published` by metric or cost;
    `start`, `against`: other rows."""

    name: str
    base: Path
    shared: dict[str, Any]
    changes: dict[str, Any]
    published: dict[str, float]
    start: str | None
    against: str

    @property
    def slug(self) -> str:
        """Name of the row's folder."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


@dataclass(frozen=True)
class Ablation:
    """A whole file."""

    name: str
    title: str
    source: str
    metric: str
    classes: int | None
    needs: dict[str, str]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row:
        """A row by its name or slug; SettingsError names the nearest."""
        found = [row for row in self.rows if name in (row.name, row.slug)]
        if not found:
            hint = nearest_or_all(name, [row.name for row in self.rows])
            raise SettingsError(f"ablation {self.name} has no row {name!r}; {hint}")
        return found[0]


def packaged() -> list[str]:
    """Names of the ablation files that come with the package."""
    return sorted(path.stem for path in PACKAGED.glob("*.yaml"))


def find_ablation(name: str) -> Path:
    """An ablation file, by path or by packaged name."""
    if Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).is_file():
            raise SettingsError(f"there is no ablation file {name}")
        return Path(name)
    if name not in packaged():
        hint = nearest(name, packaged(), "did you mean {}? ")
        raise SettingsError(
            f"there is no ablation {name!r}; {hint}packaged are {', '.join(packaged())}; a file ends in .yaml"
        )
    return PACKAGED / f"{name}.yaml"


def read_ablation(path: Path) -> Ablation:
    """Parse and check a file; SettingsError names the file, the row and what is wrong with it."""
    content = read_mapping(path, "ablation")
    where = f"ablation {path.stem}"
    _know(content, FILE_KEYS, where)
    rows: Any = content.get("rows")
    _expect(isinstance(rows, list) and rows, f"{where}: rows", rows, "a list of rows, each with a name, is expected")
    for number, row in enumerate(rows, 1):
        name = row.get("name") if isinstance(row, dict) else None
        good = isinstance(name, str) and re.search("[a-z0-9]", name.lower()) is not None
        _expect(good, f"{where}: row {number}", row, "a mapping with a name is expected")
    classes = content.get("classes")
    good = classes is None or (type(classes) is int and classes >= 2)
    _expect(good, f"{where}: classes", classes, "a number of at least 2 is expected")
    needs = content.get("needs", {})
    good = isinstance(needs, dict) and all(isinstance(text, str) for text in [*needs, *needs.values()])
    _expect(good, f"{where}: needs", needs, "keys with a text each are expected, {labels.source: WHAT}")
    seeds = content.get("seeds", [0, 1, 2])
    whole = isinstance(seeds, list) and all(type(seed) is int and seed >= 0 for seed in seeds)
    good = whole and 0 < len(seeds) == len(set(seeds))
    _expect(good, f"{where}: seeds", seeds, "a list of different whole numbers is expected, [0, 1, 2]")
    texts = {"title": path.stem, "source": "", "metric": "", "reference": rows[0]["name"]}
    texts = {key: content.get(key, default) for key, default in texts.items()}
    for key, text in texts.items():
        _expect(isinstance(text, str), f"{where}: {key}", text, "a text is expected")
    read = tuple(_row(row, content, texts["reference"], path) for row in rows)
    metric = texts["metric"] or _goal(read[0])
    for row in read:
        _know(row.published, (metric, *COSTS), f"{where}, row {row.name!r}, published")
    ablation = Ablation(path.stem, texts["title"], texts["source"], metric, classes, needs, tuple(seeds), read)
    _check_names(ablation, texts["reference"])
    if not ablation.source and any(row.published for row in ablation.rows):
        raise SettingsError(f"{where}: published values need their origin; add source: PAPER, TABLE")
    return ablation


def _know(content: dict[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in content:
        if key not in keys:
            raise SettingsError(f"{where}: there is no key {key!r}; {nearest_or_all(str(key), keys)}")


def _expect(good: object, what: str, value: object, wanted: str) -> None:
    if not good:
        raise SettingsError(f"{what} is {value!r}; {wanted}")


def _row(row: dict[str, Any], content: dict[str, Any], reference: str, path: Path) -> Row:
    where = f"ablation {path.stem}, row {row['name']!r}"
    _know(row, ROW_KEYS, where)
    shared, changes = (level.get("set", {}) for level in (content, row))
    for level in (shared, changes):
        good = isinstance(level, dict) and all(isinstance(key, str) for key in level)
        _expect(good, f"{where}: set", level, "keys of the recipe with values are expected")
        for key, what in (("train.seed", "seeds"), ("task", "base")):
            if key in level:
                raise SettingsError(f"{where}: set has {key}, which follows from {what}; leave it out")
    base = row.get("base", content.get("base"))
    if not isinstance(base, str):
        raise SettingsError(f"{where}: it has no base; name a recipe with base, in the row or for the whole file")
    start = row.get("start")
    if start is not None and "model.weights" in {**shared, **changes}:
        raise SettingsError(f"{where}: start and model.weights both say where to begin; keep one of them")
    beside = path.parent / base
    recipe = beside if beside.suffix in (".yaml", ".yml") and beside.is_file() else find_recipe(base)
    published = row.get("published", {})
    wanted = f"values by name are expected, {{{content.get('metric', 'top1')}: 75.4}}"
    _expect(isinstance(published, dict), f"{where}: published", published, wanted)
    for key, value in published.items():
        good = isinstance(value, int | float) and not isinstance(value, bool)
        wanted = "a number is expected; leave it out where none was published"
        _expect(good, f"{where}: published {key}", value, wanted)
    numbers = {key: float(value) for key, value in published.items()}
    return Row(row["name"], recipe.absolute(), shared, changes, numbers, start, row.get("against", reference))


def _goal(row: Row) -> str:
    """The metric that chooses the best checkpoint of a row's runs."""
    try:
        settings, _ = read_recipe(row.base, list(as_words({**row.shared, **row.changes})))
        return ROOMS[settings.task].task()(settings).goal.removeprefix("-")
    except SettingsError as error:
        raise SettingsError(f"row {row.name!r}: {error}") from error


def as_words(changes: dict[str, Any]) -> tuple[str, ...]:
    """{"data.limit": 10} -> ("--data.limit", "10")."""
    return tuple(
        word
        for key, value in changes.items()
        for word in (f"--{key}", value if isinstance(value, str) else json.dumps(value))
    )


def _check_names(ablation: Ablation, reference: str) -> None:
    """Names and folders are unique, and rows that are named exist; `start` names an earlier one."""
    ablation.row(reference)
    seen: dict[str, str] = {}
    for row in ablation.rows:
        if row.slug in seen:
            raise SettingsError(
                f"ablation {ablation.name}: the rows {seen[row.slug]!r} and {row.name!r} share the folder {row.slug}; "
                "give one another name"
            )
        ablation.row(row.against)
        if row.start is not None and row.start not in seen.values():
            raise SettingsError(
                f"ablation {ablation.name}, row {row.name!r}: start is {row.start!r}; the name of an earlier row is "
                "expected"
            )
        seen[row.slug] = row.name
