"""The pages that people read, and the code blocks in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(path for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md") if (path := ROOT / name).exists()),
    *sorted((ROOT / "docs").rglob("*.md")),
]
FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block: its language, its text, and the line of the page (from 1) where the text begins."""

    language: str
    text: str
    line: int


def code_blocks(page: Path) -> list[CodeBlock]:
    """The page's fenced blocks in order."""
    text = page.read_text(encoding="utf-8")
    return [
        CodeBlock(match["language"], match["text"], text.count("\n", 0, match.start("text")) + 1)
        for match in FENCE.finditer(text)
    ]


def commands(text: str) -> list[str]:
    """What follows `$ ` in a console block, continued lines joined."""
    return [line[2:] for line in text.replace("\\\n", " ").splitlines() if line.startswith("$ ")]


def page_id(page: Path) -> str:
    """The page's path from the root, as tests call it."""
    return page.relative_to(ROOT).as_posix()
