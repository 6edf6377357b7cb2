"""A picture as an SVG document: plain text, no library, the same bytes each time. Groups have tooltips."""

from __future__ import annotations

import base64
from xml.sax.saxutils import escape, quoteattr

from .picture import Box, Group, Image, Item, Line, Picture, Text, outline, printable

FONTS = "Helvetica, Arial, 'DejaVu Sans', sans-serif"  # none is wider than `lettering` says


def to_svg(picture: Picture) -> str:
    """The whole document, in UTF-8 once encoded."""
    width, height = _number(picture.width), _number(picture.height)
    body = "\n".join(_element(item) for item in picture.items)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" font-family="{FONTS}" fill="none">\n'
        f"<title>{_text(picture.title)}</title>\n<desc>{_text(picture.description)}</desc>\n{body}\n</svg>\n"
    )


def _element(item: Item) -> str:
    if isinstance(item, Group):
        name = f" data-name={quoteattr(printable(item.name))}" if item.name else ""
        tooltip = f"<title>{_text(item.tooltip)}</title>\n" if item.tooltip else ""
        content = "\n".join(_element(each) for each in item.items)
        return f'<g class="{item.kind}"{name}>\n{tooltip}{content}\n</g>'
    if isinstance(item, Box):
        radius = f' rx="{_number(item.radius)}"' if item.radius else ""
        place = f'x="{_number(item.x)}" y="{_number(item.y)}"'
        size = f'width="{_number(item.width)}" height="{_number(item.height)}"'
        return f"<rect {place} {size}{radius}{_paint(item)}/>"
    if isinstance(item, Line):
        return f'<path d="{_path(item)}"{_paint(item)}/>'
    if isinstance(item, Image):
        return _image(item)
    return _words(item)


def _image(image: Image) -> str:
    place = f'x="{_number(image.x)}" y="{_number(image.y)}"'
    size = f'width="{_number(image.width)}" height="{_number(image.height)}" preserveAspectRatio="none"'
    data = base64.b64encode(image.png).decode()
    words = f"<title>{_text(image.words)}</title>"
    return f'<image {place} {size} href="data:image/png;base64,{data}">{words}</image>'


def _words(text: Text) -> str:
    anchor = f' text-anchor="{text.anchor}"' if text.anchor != "start" else ""
    weight = ' font-weight="bold"' if text.bold else ""
    place = f'x="{_number(text.x)}" y="{_number(text.y)}" font-size="{_number(text.size)}"'
    return f'<text {place} fill="{text.colour}"{anchor}{weight}>{_text(text.content)}</text>'


def _paint(item: Box | Line) -> str:
    fill = f' fill="{item.fill}"' if item.fill else ""
    if not item.stroke:
        return fill
    width = f' stroke-width="{_number(item.stroke_width)}"' if item.stroke_width != 1 else ""
    return f'{fill} stroke="{item.stroke}"{width}'


def _path(line: Line) -> str:
    pieces = [command + " ".join(f"{_number(x)},{_number(y)}" for x, y in points) for command, points in outline(line)]
    return "".join(pieces) + ("Z" if line.fill else "")


def _number(value: float) -> str:
    """At most two decimals: `-0` and trailing zeros never appear."""
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")


def _text(text: str) -> str:
    return escape(printable(text))
