"""The packaged recipes, and the reading of any recipe into the settings of its room."""

import argparse
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from volovan.engine.settings import SettingsError
from volovan.files.nearest import nearest
from volovan.files.runs import runs_like
from volovan.use.misread import misread
from volovan.use.rooms import ROOMS

OLD_OPTIONS = {"dims": "embed_dims", "layers": "depths"}
"""options of networks as they were called once -> as they are; `BackboneConfig.OLD_NAMES` knows all of a family"""
_OLD_WORD = re.compile(rf"^(--model\.options\.)({'|'.join(OLD_OPTIONS)})(?=$|=)")
EARLIER = {"train.ema_buffers": "copy", "augment.reduced": "false", "augment.filter": "pillow"}
"""key that came later -> what was done before it"""
PACKAGED = Path(str(files("volovan.recipes")))
_RECIPES = "`volovan fit` lists the packaged ones, and a file of your own ends in .yaml"


def packaged() -> list[str]:
    """`task/name` of every recipe that comes with the package."""
    return sorted(f"{path.parent.name}/{path.stem}" for path in PACKAGED.glob("*/*.yaml"))


def recipe_names() -> list[str]:
    """The same, and each without its task."""
    return [*packaged(), *(name.split("/")[1] for name in packaged())]


def find_recipe(name: str) -> Path:
    """A recipe file, by path or by packaged name (short if it is unique)."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise SettingsError(f"there is no recipe file {name}; {_RECIPES}")
        return path
    full = [known for known in packaged() if name in (known, known.split("/")[1])]
    if len(full) == 1:
        return PACKAGED / f"{full[0]}.yaml"
    if full:
        raise SettingsError(f"recipe {name!r} is not unique; say {' or '.join(full)}")
    runs = runs_like(name)
    if str(path) in runs:
        raise SettingsError(f"{name} is a run; volovan fit --resume {name} goes on with it")
    hint = nearest(name, recipe_names(), "did you mean {}? ")
    if runs and not hint:
        raise SettingsError(f"there is no recipe {name!r}; did you mean a run? volovan fit --resume {runs[0]}")
    raise SettingsError(f"there is no recipe {name!r}; {hint}{_RECIPES}")


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, of which the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.YAMLError(f"the key {name!r} is given twice {node.start_mark}; keep one of them")
        return super().construct_mapping(node, deep)


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The content of a YAML file; SettingsError if it is none of keys. what: a "recipe", for errors."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{what} {path} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{what} {path} holds no settings; it should be a YAML mapping")
    return content


def task_of(path: Path) -> str:
    """The room that a recipe file belongs to; SettingsError if the file is no mapping of sections."""
    content = read_mapping(path, "recipe")
    task = content.get("task", "classify")
    if not isinstance(task, str) or task not in ROOMS:
        raise SettingsError(f"recipe {path}: task is {task!r}; known: {', '.join(ROOMS)}")
    for key, section in content.items():
        if key != "task" and not isinstance(section, dict):
            raise SettingsError(f"recipe {path}: {key} is {section!r}; a section of keys is expected, {key}: {{...}}")
    return task


@cache
def parser_for(settings: Any, program: str) -> Any:
    """A parser with every typed key of a settings dataclass, documented by the docstrings under the fields."""
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=program, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="a recipe file, read before the keys after it")
    parser.add_class_arguments(settings)
    return parser


def help_of(path: Path) -> str:
    """Every key of a recipe with what it is for; the defaults are the values of the recipe."""
    parser = parser_for.__wrapped__(ROOMS[task_of(path)].recipe(), f"volovan fit {path.stem}")  # its defaults change
    parser.set_defaults(dict(_values(parser, path, []).items(branches=False)))
    parser.usage = argparse.SUPPRESS
    return str(parser.format_help())


def read_recipe(path: Path, words: list[str]) -> tuple[Any, str]:
    """The settings of a recipe with `--section.key value` words laid over it, and the same as YAML.

    SettingsError names an unknown key, the nearest known one, and values of the wrong type.
    """
    settings = ROOMS[task_of(path)].recipe()
    parser = parser_for(settings, f"volovan fit {path.stem}")
    values = _values(parser, path, words)
    for key in getattr(settings, "PATHS", ()):
        values[key] = _absolute(values[key])
    text = parser.dump(values, skip_unset=False)
    recipe = parser.instantiate(values)
    return settings(**{key: getattr(recipe, key) for key in vars(recipe)}), text


def read_begun(path: Path) -> Any:
    """The settings of a run's recipe; of keys that came after it was begun, what was done before."""
    settings, _ = read_recipe(path, [])
    said = yaml.safe_load(path.read_text(encoding="utf-8"))
    words: list[str] = []
    for key, before in EARLIER.items():
        section, name = key.split(".")
        if name not in (said.get(section) or {}) and hasattr(getattr(settings, section, None), name):
            words += [f"--{key}", before]
    return read_recipe(path, words)[0] if words else settings


def _values(parser: Any, path: Path, words: list[str]) -> Any:
    """What a parser reads from a recipe and the words behind it."""
    import jsonargparse

    words = [_OLD_WORD.sub(lambda found: found[1] + OLD_OPTIONS[found[2]], word) for word in words]
    try:
        values = parser.parse_args(["--config", str(path), *words])
    except jsonargparse.ArgumentError as error:
        own = ("help", "config", "print_config")
        keys = [action.dest for action in parser._actions if action.dest not in own]
        raise SettingsError(misread(str(error), path, words, ROOMS[task_of(path)].recipe(), keys)) from error
    values.pop("config", None)
    for old, name in OLD_OPTIONS.items():
        if old in values.model.options:
            said = values.model.options.pop(old)
            values.model.options.setdefault(name, said)  # a word of the command line is renamed already, and wins
    return values


def _absolute(value: str | None) -> str | None:
    """A file or folder by its full path, so that a run can be gone on with from anywhere; names stay as they are."""
    if value is None or value == "digits" or "$" in value or not value.strip():
        return value
    path = Path(value).expanduser()
    return str(path.absolute()) if path.exists() or (set(value) & set("*{") and path.parent.is_dir()) else value
