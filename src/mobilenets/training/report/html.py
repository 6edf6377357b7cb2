"""HTML as values: elements whose text and attributes are escaped, so that no class name can become markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias


class Markup(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"
Attributes: TypeAlias = Mapping[str, object]

_CLOSED = ("area", "br", "col", "hr", "img", "input", "link", "meta", "wbr")  # elements that never have content
_SHAPES = ("circle", "line", "path", "polygon", "rect")  # of SVG: closed at once where they have no title
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_SELECTOR = re.compile(r"([a-z][a-zA-Z0-9]*)(?:#([\w-]+))?((?:\.[\w-]+)*)")


def escape(text: str) -> Markup:
    """The text as HTML; what no document may hold (control characters, lone surrogates) becomes U+FFFD.

    >>> escape('<b> & "c"')
    '&lt;b&gt; &amp; &quot;c&quot;'
    """
    return Markup(html.escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text), quote=True))


def tag(selector: str, *children: Child, at: Attributes | None = None) -> Markup:
    """One element. `selector` is a name with id and classes; children are escaped unless they are `Markup`.

    Children may be nested lists; None is nothing. An attribute that is None or False is left out, True stands alone.

    >>> tag("a#top.button", "R&D", at={"href": "#x", "hidden": True, "title": None})
    '<a id="top" class="button" href="#x" hidden>R&amp;D</a>'
    """
    match = _SELECTOR.fullmatch(selector)
    if match is None:
        raise ValueError(f"not an element: {selector!r}")
    name, identity, classes = match.groups()
    attributes = {"id": identity, "class": classes.replace(".", " ").strip() or None, **(at or {})}
    opening = name + "".join(_attribute(key, value) for key, value in attributes.items())
    content = join(children)
    if name in _CLOSED:
        return Markup(f"<{opening}>")
    if name in _SHAPES and not content:
        return Markup(f"<{opening}/>")
    return Markup(f"<{opening}>{content}</{name}>")


def join(children: Child) -> Markup:
    """The children one after another, escaped unless they are `Markup`."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, str | int):
        return escape(str(children))
    return Markup("".join(join(child) for child in children))


def table(
    head: Sequence[Child], rows: Iterable[Sequence[Child]], *, numeric: Sequence[int] = (), style: str = ""
) -> Markup:
    """A table in a box that scrolls sideways by itself. A row's first cell is its heading.

    `numeric` are the columns set flush right; cells that are whole `td` or `th` elements are taken as they are.
    """
    kinds = ["num" if index in numeric else None for index in range(len(head))]
    top = tag("tr", [tag("th", cell, at={"scope": "col", "class": kind}) for cell, kind in zip(head, kinds)])
    body = [
        tag(
            "tr",
            [
                tag("td", cell, at={"class": kind}) if index else tag("th", cell, at={"scope": "row", "class": kind})
                for index, (cell, kind) in enumerate(zip(row, kinds))
            ],
        )
        for row in rows
    ]
    return scroll(tag("table", tag("thead", top), tag("tbody", body), at={"class": style or None}))


def scroll(*children: Child) -> Markup:
    """A box that scrolls sideways when its content is wider than the page; the keyboard reaches it too."""
    return tag("div.scroll", *children, at={"tabindex": "0"})


def terms(rows: Iterable[tuple[Child, Child]], style: str = "terms") -> Markup:
    """A list of names and values."""
    return tag(f"dl.{style}", [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows])


def details(summary: Child, *children: Child) -> Markup:
    """What opens on a click."""
    return tag("details", tag("summary", summary), *children)


def section(identity: str, title: str, *children: Child) -> Markup:
    """One part of the page under its heading, with an address."""
    return tag(f"section#{identity}", tag("h2", title), *children)


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
