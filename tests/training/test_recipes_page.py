"""docs/recipes.md has a table of every recipe's settings, and each value in it is the recipe's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mobilenets.training.recipe import Recipe, Tuning
from mobilenets.training.recipes import RECIPES
from mobilenets.training.settings import flat, read_setting

PAGE = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"
IMAGENET = 1_281_167


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    text = PAGE.read_text(encoding="utf-8")
    _, found, below = text.partition(f"\n{heading}\n")
    assert found, f"{PAGE.name} has no heading {heading!r}"
    below = re.split(r"^#", below, maxsplit=1, flags=re.MULTILINE)[0]
    lines = re.search(r"^\|.*?(?=\n\n|\Z)", below, re.DOTALL | re.MULTILINE)
    assert lines, f"{heading}: no table"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.group().splitlines()[2:]]


def same(value: Any, expected: Any) -> bool:
    if isinstance(expected, float):
        return value == pytest.approx(expected, rel=1e-4)
    if isinstance(expected, tuple):
        return all(same(*pair) for pair in zip(value, expected, strict=True))
    return value == expected


@pytest.mark.parametrize("name", RECIPES)
def test_the_table_of_a_recipe_is_the_recipe(name: str) -> None:
    """Every setting that is not `Recipe`'s own default is there, each with its value and where it comes from."""
    recipe = RECIPES[name]()
    settings = {setting: value for setting, value, _ in flat(recipe)}
    listed = set()
    for setting, word, source in rows(f"### `{name}`"):
        setting, word = setting.strip("`"), word.strip("`")
        assert same(read_setting(recipe, setting, word), settings[setting]), f"{setting}: {word}, {settings[setting]}"
        assert source, f"{setting} has no source"
        assert setting not in listed, f"{setting} twice"
        listed.add(setting)
    base = Recipe(name=name, tuning=recipe.tuning and Tuning())
    plain = {setting: value for setting, value, _ in flat(base)}
    missing = {setting for setting, value in settings.items() if value != plain[setting]} - listed
    assert not missing, f"not in the table of {name}: {sorted(missing)}"


def test_passes_images_and_days() -> None:
    """Of each ImageNet recipe: its passes, the images that they show, and the days at 1000 images a second."""
    told = {row[0].strip("`"): row for row in rows("### What they take and give")}
    assert set(told) == {name for name in RECIPES if "IMAGENET" in (RECIPES[name].__doc__ or "")}
    for name, (_, _, passes, millions, days, *_) in told.items():
        epochs = RECIPES[name]().epochs
        images = epochs * IMAGENET
        assert int(passes) == epochs
        assert float(millions.replace(",", "")) == pytest.approx(images / 1e6, abs=0.5)
        assert float(days) == pytest.approx(images / 1000 / 86400, abs=0.06)


def test_every_table_of_the_page_is_compared() -> None:
    headings = re.findall(r"^### `(\w+)`$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(RECIPES)
