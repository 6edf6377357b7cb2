"""The named recipes. Each is a function whose docstring says where it comes from and what to expect of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from inspect import getdoc

from ..recipe import Recipe
from .own import default, quick, sgd, small_pictures, strong, transfer
from .papers import modern, v1_paper, v2_paper, v3_paper, v4_paper, v4_paper_small

RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        default,
        small_pictures,
        strong,
        sgd,
        transfer,
        quick,
        modern,
        v1_paper,
        v2_paper,
        v3_paper,
        v4_paper,
        v4_paper_small,
    )
}
ALIASES = {"small_data": "default"}


@dataclass(frozen=True)
class About:
    """What a recipe's docstring says of it: the first line, and its paragraphs under their words."""

    summary: str
    source: str
    command: str
    time: str
    expect: str


def about(name: str) -> About:
    """What is known of the recipe of that name."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", getdoc(RECIPES[name]) or "")]
    labelled = dict(part.split(": ", 1) for part in paragraphs[1:] if re.match(r"(Source|Command|Time|Expect): ", part))
    return About(
        paragraphs[0], labelled["Source"], labelled["Command"].strip("`"), labelled["Time"], labelled["Expect"]
    )
