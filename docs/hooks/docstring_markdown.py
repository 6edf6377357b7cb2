"""Griffe extension: what docstrings here write in their own way becomes the Markdown that the Reference shows.

Examples (`>>> `) and tables under rules of `=` are put into code blocks; Markdown would read the former as quotations
and the latter as headings.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_RULE = re.compile(r"=+(\s+=+)+\s*")


def fenced(text: str) -> str:
    """The docstring with its examples and tables in code blocks; what is fenced or indented already stays."""
    result: list[str] = []
    language = ""  # of the block that is open
    rules = 0
    for line in text.splitlines():
        if language == "python" and not line.strip():
            language = _close(result)
        if not language and line.startswith(">>> "):
            language = _open(result, "python")
        elif not language and _RULE.fullmatch(line):
            language, rules = _open(result, "text"), 0
        result.append(line)
        if language == "text" and _RULE.fullmatch(line):
            rules += 1
            if rules == 3:
                language = _close(result)
    if language:
        _close(result)
    return "\n".join(result)


def _open(result: list[str], language: str) -> str:
    if result and result[-1].strip():
        result.append("")
    result.append(f"```{language}")
    return language


def _close(result: list[str]) -> str:
    result.append("```")
    return ""


class DocstringMarkdown(Extension):
    """Runs `fenced` over every docstring."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Griffe calls this for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)
