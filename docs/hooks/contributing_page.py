"""MkDocs hook: CONTRIBUTING.md of the project's root as a page of the site, its links made to fit.

GitHub looks for the file in the root, MkDocs takes pages from docs/ alone. What links into docs/ becomes a link between
pages; what links to any other file becomes its path.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

PAGE = "contributing.md"
ORIGINAL = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)\s]+)\)")


def as_page(text: str) -> str:
    """The Markdown of CONTRIBUTING.md with the links that it needs as a page of docs/."""

    def link(match: re.Match[str]) -> str:
        target = match["target"]
        if target.startswith(("#", "http:", "https:", "mailto:")):
            return match[0]
        if target.startswith("docs/"):
            return f"[{match['text']}]({target.removeprefix('docs/')})"
        return match["text"]

    return LINK.sub(link, text)


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Adds the page."""
    files.append(File.generated(config, PAGE, abs_src_path=str(ORIGINAL)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Makes the links of this one page fit."""
    return as_page(markdown) if page.file.src_uri == PAGE else markdown
