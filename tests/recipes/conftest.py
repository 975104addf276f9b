"""Recipes as the tests look at them: their settings, and the lines of their headers."""

import pytest

from volovan.recipes import find_recipe, read_recipe

FIELDS = ("data", "run", "cost", "expect", "differs")


@pytest.fixture
def settings_of():
    """settings_of("volo_d1", "--data.size", "64") -> the recipe, as `volovan fit` would resolve it."""

    def read(name, *words):
        return read_recipe(find_recipe(name), list(words))[0]

    return read


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
