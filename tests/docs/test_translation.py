"""README.zh-CN.md says what README.md says: the same headings, code, tables, figures and links in the same order."""

from __future__ import annotations

import re

from markdown_pages import FENCE, ROOT, code_blocks

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"


def shape(text: str) -> list[str]:
    """What each line of the page is, prose and blank lines left out."""
    kinds = {r"(#+) ": "heading", r"(```)\w+": "code", r"\|": "row", r"- ": "item", r"!\[": "picture", r"\*\*": "motto"}
    plain = FENCE.sub(lambda match: f"```{match['language']}", text)
    found = []
    for line in plain.splitlines():
        for pattern, kind in kinds.items():
            match = re.match(pattern, line)
            if match:
                found.append(f"{kind} {match[0]} {line.count('|')}")
                break
    return found


def without_code(text: str) -> str:
    return FENCE.sub("", text)


def test_the_structure_is_the_same() -> None:
    english, chinese = (page.read_text(encoding="utf-8") for page in (ENGLISH, CHINESE))
    assert shape(english) == shape(chinese)
    assert len([line for line in shape(english) if line.startswith("heading")]) > 5


def test_the_code_is_the_same() -> None:
    english, chinese = ([(block.language, block.text) for block in code_blocks(page)] for page in (ENGLISH, CHINESE))
    assert english == chinese


def test_links_and_pictures_are_the_same() -> None:
    def targets(text: str) -> list[str]:
        return [each for each in re.findall(r"\]\(([^)\s]+)\)", text) if not each.startswith("README")]

    english, chinese = (page.read_text(encoding="utf-8") for page in (ENGLISH, CHINESE))
    assert targets(english) == targets(chinese)
    assert "](README.zh-CN.md)" in english
    assert "](README.md)" in chinese


def test_the_figures_and_names_are_the_same() -> None:
    """Row by row, and over all the prose: numbers with a point, code in backticks."""

    def rows(text: str) -> list[list[str]]:
        lines = [line for line in text.splitlines() if line.startswith("|")]
        return [sorted(re.findall(r"`[^`]+`|\d+(?:\.\d+)?", line)) for line in lines]

    def names(text: str) -> list[str]:
        return sorted(re.findall(r"`[^`\n]+`", without_code(text)))

    english, chinese = (page.read_text(encoding="utf-8") for page in (ENGLISH, CHINESE))
    assert names(english) == names(chinese)
    numbers = zip(rows(english), rows(chinese), strict=True)
    assert [pair for pair in numbers if set(pair[0]) ^ set(pair[1])] == []


def test_the_translation_is_in_chinese() -> None:
    prose = re.sub(r"`[^`\n]+`|\]\([^)]*\)", "", without_code(CHINESE.read_text(encoding="utf-8")))
    for paragraph in prose.split("\n\n"):
        words = re.sub(r"[\W\d_]", "", paragraph)
        if len(words) > 60:
            assert len(re.findall(r"[一-鿿]", words)) > len(words) / 4, paragraph
