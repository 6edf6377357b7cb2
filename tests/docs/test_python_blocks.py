"""The Python on the pages runs, page by page in one namespace, and prints what the pages say.

`>>> ` examples are doctests; what a line `print(…)  # value` prints must be that value. Trainings are cut short.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from pathlib import Path
from typing import Any

import pytest
from markdown_pages import PAGES, CodeBlock, code_blocks, page_id

# Names that a page's examples use and do not make themselves -> the fixture that makes them.
NEEDS = {
    r'"(photos|my_images)"': "with_photos",
    r'(?<!out=)"(run|teacher)"': "trained",
    r"\.tflite\b": "published",
    r"\.timm_ra_in1k\b": "on_hub",
}
WORKS = re.compile(r"\b(train|export|verify|convert|create_model\(\"[\w]+\.\w)")  # takes more than a second or two
PRINTED = re.compile(r"^print\(.*\)  # (?P<value>.+)$", re.MULTILINE)


def python_blocks(page: Path) -> list[CodeBlock]:
    return [block for block in code_blocks(page) if block.language == "python"]


def cut_short(text: str) -> str:
    """The same program, but no training is longer than an epoch."""
    for call in re.findall(r"\btrain\((?:[^()]|\([^()]*\))*\)", text):
        assert re.search(r"\b(minutes|epochs)=", call), f"{call} says not how long it trains"
    return re.sub(r"\b(minutes|epochs)=[\d.]+", "epochs=1", text)


def run_examples(block: CodeBlock, namespace: dict[str, Any], page: Path) -> None:
    """Runs a block of `>>> ` examples as doctests."""
    test = doctest.DocTestParser().get_doctest(block.text, namespace, page.name, str(page), block.line - 1)
    told = io.StringIO()
    outcome = doctest.DocTestRunner(verbose=False).run(test, out=told.write, clear_globs=False)
    assert outcome.attempted == len(re.findall(r"^>>> ", block.text, re.MULTILINE))
    assert outcome.failed == 0, told.getvalue()
    namespace.update(test.globs)


def run_program(block: CodeBlock, namespace: dict[str, Any], page: Path) -> None:
    """Runs a block as a program; its lines keep their numbers on the page."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(compile("\n" * (block.line - 1) + cut_short(block.text), str(page), "exec"), namespace)
    expected = [match["value"] for match in PRINTED.finditer(block.text)]
    lines = iter(told.getvalue().splitlines())
    assert all(value in lines for value in expected), told.getvalue()  # in this order


CASES = [
    pytest.param(
        page,
        id=page_id(page),
        marks=[pytest.mark.slow] if any(WORKS.search(block.text) for block in python_blocks(page)) else [],
    )
    for page in PAGES
    if python_blocks(page)
]


@pytest.mark.parametrize("page", CASES)
@pytest.mark.usefixtures("workshop")
def test_the_python_of_a_page_runs(page: Path, request: pytest.FixtureRequest) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    blocks = python_blocks(page)
    program = "".join(block.text for block in blocks)
    for pattern, fixture in NEEDS.items():
        made_here = fixture == "trained" and 'out="run"' in program
        if re.search(pattern, program) and not made_here:
            request.getfixturevalue(fixture)
    for block in blocks:
        run = run_examples if re.search(r"^>>> ", block.text, re.MULTILINE) else run_program
        run(block, namespace, page)


def test_no_page_hides_code_under_another_name() -> None:
    """A block that no test knows would not be run: every block says what it is."""
    known = {"python", "console", "text", "json"}
    strange = [
        f"{page_id(page)}:{block.line} is {block.language or 'of no language'}"
        for page in PAGES
        for block in code_blocks(page)
        if block.language not in known
    ]
    assert strange == []
