"""`recipes`: the named settings of a training, where they come from, and what they set."""

from __future__ import annotations

from . import output
from .output import Answer


def recipes(name: str | None = None, /) -> Answer:
    """Lists the recipes of `train`, or every setting of one, by the name that `train --set NAME=VALUE` takes.

    Args:
        name: a recipe of the list, or a JSON file of one; all recipes where left out
    """
    return _list() if name is None else _one(name)


def _list() -> Answer:
    from ..training.recipes import ALIASES, RECIPES, about

    rows = []
    for known, make in RECIPES.items():
        told = about(known)
        rows.append(
            {
                "name": known,
                "aliases": [alias for alias, meant in ALIASES.items() if meant == known],
                "summary": told.summary,
                "source": told.source,
                "command": told.command,
                "time": told.time,
                "expect": told.expect,
                "settings": make().to_json(),
            }
        )

    def show() -> None:
        output.table(["recipe", "what for"], [[row["name"], row["summary"]] for row in rows])
        output.line("")
        output.line("`mobilenets recipes NAME` shows where one comes from and all its settings")

    return Answer(rows, show)


def _one(name: str) -> Answer:
    from ..training.choose import SMALL, Changes, choose_recipe
    from ..training.recipes import RECIPES, about
    from ..training.settings import flat

    weights = name == "transfer"
    recipe = choose_recipe(name, SMALL + 1, Changes(), weights=weights)
    settings = [{"name": key, "value": value, "allowed": allowed} for key, value, allowed in flat(recipe)]
    told = about(recipe.name) if recipe.name in RECIPES and not name.endswith(".json") else None
    document = {
        "name": recipe.name,
        **({"summary": told.summary, "source": told.source, "command": told.command} if told else {}),
        **({"time": told.time, "expect": told.expect} if told else {}),
        "settings": recipe.to_json(),
    }

    def show() -> None:
        if told:
            output.line(told.summary)
            for word in ("source", "command", "time", "expect"):
                output.line(f"{word:<12} {getattr(told, word)}")
            output.line("")
        output.table(["setting", "value", "allowed"], [[s["name"], _shown(s["value"]), s["allowed"]] for s in settings])

    return Answer([document], show)


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(_shown(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
