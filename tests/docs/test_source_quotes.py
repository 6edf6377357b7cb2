"""What a page quotes from the source is there, and is what the source says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs_hooks import load
from markdown_pages import PAGES, ROOT, page_id

source_quotes = load("source_quotes")
QUOTED = [
    pytest.param(page, match["file"], match["name"], id=f"{page_id(page)}: {match['name']}")
    for page in PAGES
    for match in source_quotes.quotes(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("page", "file", "name"), QUOTED)
def test_what_is_quoted_is_the_sources_own(page: Path, file: str, name: str) -> None:
    path = (page.parent / file).resolve()
    assert path.is_relative_to(ROOT / "src" / "mobilenets")
    shown = source_quotes.with_quotes(f'[`{name}`]({file} "source")', page)
    opening, *lines, closing = shown.splitlines()
    first = re.fullmatch(r'```python title="(src/mobilenets/[\w/]+\.py)" linenums="(\d+)"', opening)
    assert first is not None
    assert closing == "```"
    start = int(first[2]) - 1
    original = (ROOT / first[1]).read_text(encoding="utf-8").splitlines()[start : start + len(lines)]
    assert [line.strip() for line in lines] == [line.strip() for line in original]
    assert name.rpartition(".")[2] in " ".join(lines[:5])


def test_pages_quote_the_source() -> None:
    assert len(QUOTED) > 20


def test_a_link_becomes_the_lines_of_its_definition(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "code.py").write_text(
        "import os\n\nSIZE: int = 3\n\n\nclass House:\n"
        "    @property\n    def door(self):\n        return 1\n\nA, B = 1, 2\n"
    )
    page = tmp_path / "page.md"

    def shown(name: str) -> str:
        return source_quotes.with_quotes(f'Text.\n\n[`{name}`](code.py "source")\n', page)

    assert shown("House.door") == (
        'Text.\n\n```python title="code.py" linenums="7"\n@property\ndef door(self):\n    return 1\n```\n'
    )
    assert 'linenums="3"\nSIZE: int = 3\n```' in shown("SIZE")
    assert 'linenums="11"\nA, B = 1, 2\n```' in shown("B")
    with pytest.raises(LookupError, match=r"no definition of House\.window in code\.py"):
        shown("House.window")


def test_what_is_inside_a_code_block_stays(tmp_path: Path) -> None:
    text = '```text\n[`missing`](nowhere.py "source")\n```\nand in a line [`missing`](nowhere.py "source") too\n'
    assert source_quotes.with_quotes(text, tmp_path / "page.md") == text
