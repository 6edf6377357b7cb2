"""Links lead somewhere: inside the project to a file and a heading that exist, outside to a well-formed address."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from markdown_pages import PAGES, ROOT, page_id

LINK = re.compile(r'\[[^\]]*\]\((?P<target>[^)\s]+)(?: "[^"]*")?\)')
GENERATED = ("docs/reference/index.md", "docs/contributing.md")  # by docs/hooks; `mkdocs build --strict` checks these
PICTURE = re.compile(r"\.(png|jpe?g|svg)$")


def links(page: Path) -> list[str]:
    """The targets of the page's links and pictures, code left out."""
    text = re.sub(r"^```.*?^```$|`[^`\n]*\]\([^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [match["target"] for match in LINK.finditer(text)]


def headings(page: Path) -> set[str]:
    """The anchors of a page, as MkDocs and GitHub make them from headings in English."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in found]
    return {re.sub(r"[\s]+", "-", heading) for heading in plain}


@pytest.mark.parametrize("page", [pytest.param(page, id=page_id(page)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        address = urlsplit(target)
        if address.scheme:
            assert address.scheme in ("https", "http"), target
            assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", address.netloc), target
            continue
        file = (page.parent / address.path).resolve() if address.path else page
        if file in (ROOT / path for path in GENERATED):
            continue
        assert file.is_file(), f"{target}: no such file"
        assert file.is_relative_to(ROOT), target
        if address.fragment and file.suffix == ".md":
            assert address.fragment in headings(file), f"{target}: no such heading"


def test_every_picture_is_shown_and_small() -> None:
    shown = {(page.parent / target).resolve() for page in PAGES for target in links(page) if PICTURE.search(target)}
    there = {path for path in (ROOT / "docs").rglob("*") if PICTURE.search(path.name)}
    assert there - shown == set(), "pictures that no page shows"
    assert {path.name: path.stat().st_size for path in there if path.stat().st_size > 200_000} == {}
