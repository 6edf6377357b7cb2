"""MkDocs hook: a page quotes the source's own lines, found by name when the page is built.

A paragraph that is nothing but a link with the title "source" becomes those lines:

    [`InvertedResidual.forward`](../../src/mobilenets/nn/blocks.py "source")

Inside a code block nothing is replaced. On GitHub the same paragraph is a link to the file. The link's text names a
function, class, method or module constant; a name that is no longer there raises, and the build fails. `docs/hooks` is
no part of the site.
"""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import Any

QUOTE = re.compile(r'^\[`(?P<name>[\w.]+)`\]\((?P<file>[^)\s]+\.py) "source"\)$', re.MULTILINE)
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def find_lines(text: str, name: str) -> tuple[int, int]:
    """The first and last line (from 1) of the definition called `name` in a module's source `text`.

    Dots lead into classes; decorators belong to what they decorate. Raises LookupError when there is none.
    """
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        found = [child for child in getattr(node, "body", []) if part in _names(child)]
        if not found:
            raise LookupError(f"no definition of {name}")
        node = found[0]
    assert isinstance(node, ast.stmt)
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(each.lineno for each in decorators)]), node.end_lineno or node.lineno


def _names(node: ast.AST) -> set[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.AnnAssign):
        return {node.target.id} if isinstance(node.target, ast.Name) else set()
    if isinstance(node, ast.Assign):
        return {each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)}
    return set()


def quote(match: re.Match[str], page: Path) -> str:
    """The code block in place of one link; `page` is the Markdown file that the link is relative to."""
    path = (page.parent / match["file"]).resolve()
    text = path.read_text(encoding="utf-8")
    try:
        first, last = find_lines(text, match["name"])
    except LookupError as error:
        raise LookupError(f"{page}: {error} in {match['file']}") from None
    lines = textwrap.dedent("\n".join(text.splitlines()[first - 1 : last]))
    root = next(folder for folder in path.parents if (folder / "pyproject.toml").is_file())
    title = path.relative_to(root).as_posix()
    return f'```python title="{title}" linenums="{first}"\n{lines}\n```'


def quotes(text: str) -> list[re.Match[str]]:
    """The links of a page's Markdown that become lines of source."""
    return [match for part in FENCED.split(text)[::2] for match in QUOTE.finditer(part)]


def with_quotes(text: str, page: Path) -> str:
    """The page's Markdown with the lines in place of the links."""
    parts = FENCED.split(text)
    parts[::2] = [QUOTE.sub(lambda match: quote(match, page), part) for part in parts[::2]]
    return "".join(parts)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """MkDocs calls this with each page's Markdown."""
    source = page.file.abs_src_path
    return markdown if source is None else with_quotes(markdown, Path(source))
