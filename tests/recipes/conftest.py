"""Recipes as the tests look at them: their settings, and the lines of their headers."""

from functools import cache

import pytest
import yaml

from volovan.use.recipes import find_recipe, read_recipe

FIELDS = ("data", "run", "cost", "expect", "differs")


@pytest.fixture(scope="session")
def settings_of():
    """settings_of("volo_d1") -> the recipe, as `volovan fit` would resolve it."""
    return cache(lambda name: read_recipe(find_recipe(name), [])[0])


@pytest.fixture(scope="session")
def written():
    """written("volo_d1") -> {"model": {"name": "volo_d1", ...}, ...}: only what the file says."""
    return lambda name: yaml.safe_load(find_recipe(name).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def header_of():
    """header_of("volo_d1") -> {"title": ..., "data": ..., "run": ..., ...}, each in one line."""

    def read(name):
        found, field = {}, "title"
        for line in find_recipe(name).read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                break
            text = line.removeprefix("#").strip()
            word = text.split(" ")[0]
            if word in FIELDS and word not in found:
                field, text = word, text.removeprefix(word).strip()
            found[field] = f"{found[field]} {text}" if field in found else text
        return found

    return read
