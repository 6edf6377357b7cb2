"""Draws a network: a Spec and its cost become a picture, and a picture a file, .svg or .png."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..arch.cost import Cost, cost
from ..arch.spec import Spec
from ..atomic import write_bytes
from ..errors import UserError
from .layout import MARGIN, body
from .legend import HEADER_HEIGHT, TOTALS_TEXT, header, legend, totals
from .lettering import text_width
from .palette import PAPER
from .picture import Box, Picture, printable
from .rows import DETAILS, rows
from .svg import to_svg

SUFFIXES = (".svg", ".png")
COMPARISON = "comparison.svg"  # where several networks are drawn and no path is given


def draw(spec: Spec, detail: str = "blocks") -> Picture:
    """The picture of a network, with a row for each stage, block or layer and one or more for the head.

    Raises UserError on another `detail`.
    """
    if detail not in DETAILS:
        raise UserError(f"detail {detail!r}; allowed: {', '.join(DETAILS)}")
    whole = cost(spec)
    name = printable(" ".join(spec.name.split()))
    found = rows(spec, whole, detail)
    least = 2 * MARGIN + text_width(totals(whole), TOTALS_TEXT)
    main, width, end = body(found, whole, HEADER_HEIGHT, dense=detail == "layers", least=least)
    explained, bottom = legend(found, width, end)
    items = (Box(0, 0, width, bottom, PAPER), *header(name, whole, width), *main, *explained)
    return Picture(width, bottom, f"{name}, its {detail}", _description(whole), items)


def default_path(spec: Spec) -> Path:
    """NAME.svg in the current folder, whatever characters the name has."""
    return Path(re.sub(r"[^\w.-]+", "_", spec.name).lstrip(".") + ".svg")


def write(picture: Picture, path: str | os.PathLike[str]) -> Path:
    """Writes the picture as its name ends, .svg or .png, all or nothing. Raises UserError on another ending."""
    target = check_path(path)
    if target.suffix.lower() == ".svg":
        write_bytes(target, to_svg(picture).encode())
    else:
        from .png import to_png

        write_bytes(target, to_png(picture))
    return target


def check_path(path: str | os.PathLike[str]) -> Path:
    """The path, if its ending is one that can be drawn; else UserError."""
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise UserError(f"{target}: a drawing is written as {' or '.join(SUFFIXES)}")
    return target


def _description(whole: Cost) -> str:
    return f"{totals(whole)}; the peak is at {whole.peak_layer}"
