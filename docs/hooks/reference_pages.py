"""MkDocs hook: the Reference, a page for each package of mobilenets, made from the docstrings of its public modules.

Nothing has to be listed by hand: a new package or module is in the Reference when it is in the source. Names that
begin with an underscore are not public.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

SOURCE = Path(__file__).resolve().parents[2] / "src" / "mobilenets"
FIRST = "reference/index.md"


def packages() -> list[str]:
    """The packages right under mobilenets, in the order of their names."""
    return sorted(path.parent.name for path in SOURCE.glob("*/__init__.py") if not path.parent.name.startswith("_"))


def modules(package: str) -> list[str]:
    """The public modules below a package, by their full names, the package itself first."""
    found = []
    for path in sorted((SOURCE / package).rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        names = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(name.startswith("_") for name in names):
            found.append(".".join(names))
    return found


def public_api() -> list[str]:
    """Where each name of `mobilenets.__all__` is defined, in that order."""
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    home: dict[str, str] = {}
    exported: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id == "__all__":
                exported = ast.literal_eval(node.value)
            elif node.targets[0].id == "_HOME":
                home = ast.literal_eval(node.value)
    return [f"mobilenets.{home[name]}.{name}" for name in exported]


def first_page() -> str:
    """What `import mobilenets` gives, then the packages."""
    lines = [
        "# Reference",
        "",
        "What `import mobilenets` gives. Everything else lies in the packages below;",
        "[the layers](../contributing.md#the-layers) say which stands on which.",
        "",
    ]
    for path in public_api():
        name = path.rpartition(".")[2]
        lines += [f"::: {path}", "    options:", "      heading_level: 2", f"      heading: mobilenets.{name}", ""]
    lines += ["## The packages", ""]
    return "\n".join([*lines, *(f"- [`mobilenets.{name}`]({name}.md)" for name in packages()), ""])


def package_page(package: str) -> str:
    """A page with every public module of a package."""
    lines = [f"# mobilenets.{package}", ""]
    for name in modules(package):
        lines += [f"::: {name}", "    options:", "      heading_level: 2", ""]
    return "\n".join(lines)


def on_config(config: Any, **_: Any) -> Any:
    """Adds the pages to the table of contents, in the place of the entry that is the word Reference alone."""
    pages: list[Any] = [{"mobilenets": FIRST}, *({name: f"reference/{name}.md"} for name in packages())]
    config.nav = [{"Reference": pages} if entry == {"Reference": FIRST} else entry for entry in config.nav]
    return config


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Adds the pages themselves."""
    files.append(File.generated(config, FIRST, content=first_page()))
    for name in packages():
        files.append(File.generated(config, f"reference/{name}.md", content=package_page(name)))
    return files
