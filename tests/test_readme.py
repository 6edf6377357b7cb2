"""The commands that README.md and docs/ print are commands that exist."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from mobilenets.cli import parsing
from mobilenets.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[1]
FIRST = ("README.md", "README.zh-CN.md", "CONTRIBUTING.md")
PAGES = [*(path for name in FIRST if (path := ROOT / name).exists()), *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[str]:
    """What follows `$ ` in the page's console blocks, continued lines joined."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line[2:] for line in lines if line.startswith("$ ")]


PRINTED = [
    pytest.param(command, id=f"{page.name}: {command}"[:80])
    for page in PAGES
    for command in dict.fromkeys(commands(page))
]


@pytest.mark.parametrize("command", PRINTED)
def test_a_printed_command_is_one_that_exists(command: str) -> None:
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|>;&")
    lexer.whitespace_split = True
    words = list(lexer)
    for sign in ("|", ">", "&&", ";", "&"):
        if sign in words:
            words = words[: words.index(sign)]
    program, *args = words
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert [arg for arg in args if "=" not in arg and arg not in targets] == []
    elif program in ("mobilenets", "torchrun"):
        if program == "torchrun":
            assert "-m" in args, command
            module, *args = args[args.index("-m") + 1 :]
            assert module == "mobilenets"
        if args[0].startswith("--"):
            assert args[0] in ("--help", "--version")
            return
        name = next(name for name in (" ".join(args[:2]), args[0]) if name in VERBS)
        function = getattr(import_module(f"mobilenets.cli.{VERBS[name].module}"), VERBS[name].function)
        parsing.parse(name, function, args[len(name.split()) :])
    else:
        others = "git cd pip python ls cat jq unzip curl source export tensorboard"
        assert program in others.split(), command
        if program == "python" and not args[0].startswith(("-", "bundle/")):
            assert (ROOT / args[0]).is_file(), command


def test_every_page_of_the_documentation_is_in_its_table_of_contents() -> None:
    contents = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert f": {name}\n" in contents, f"{name} is not in mkdocs.yml"
