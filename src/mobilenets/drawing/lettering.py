"""How wide a text is, before anything draws it: the advance widths of DejaVu Sans.

matplotlib draws with that typeface. A browser takes Helvetica or Arial, which are narrower: what fits here fits there.
"""

from __future__ import annotations

ASCENT, DESCENT = 0.76, 0.24  # of letters, as parts of the font size
CAPITAL = 0.73  # height of capitals and digits
WIDEST = 1.1  # what any other character is taken for, ideographs included
BOLD = 1.27  # no character of the bold face is wider by more

_THOUSANDTHS = {  # thousandths of the font size
    200: "\N{THIN SPACE}",
    275: "'",
    278: "ijl",
    295: "IJ",
    318: " ,.·\N{NO-BREAK SPACE}",
    337: "/:;\\|",
    352: "f",
    361: "-",
    390: "()[]",
    392: "t",
    401: "!²",
    411: "r",
    460: '"',
    500: "*_`–",
    521: "s",
    525: "z",
    531: "?",
    550: "c",
    557: "L",
    575: "F",
    579: "k",
    592: "vxyγ",
    603: "P",
    611: "TY",
    613: "ao",
    615: "e",
    632: "E",
    635: "Sbdghnpqu",
    636: "$0123456789{}",
    656: "K",
    685: "AVXZ",
    686: "B",
    698: "CR",
    732: "U",
    748: "N",
    752: "H",
    775: "DG",
    780: "&",
    787: "OQ",
    818: "w",
    838: "#+<=>^~×→",
    863: "M",
    950: "%",
    974: "m",
    989: "W",
    1000: "@…",
}
_WIDTHS = {character: width / 1000 for width, characters in _THOUSANDTHS.items() for character in characters}


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """The width of one line in the unit of `size`; an upper bound, close in the regular face.

    >>> round(text_width("1×1, 960", 10), 2)
    46.54
    """
    return size * (BOLD if bold else 1.0) * sum(_WIDTHS.get(character, WIDEST) for character in text)


def shortened(text: str, size: float, room: float, *, bold: bool = False) -> str:
    """`text`, or its beginning with an ellipsis where it is wider than `room`.

    >>> shortened("mobilenet_v3_small", 10, 80), shortened("v2", 10, 80)
    ('mobilenet_v3…', 'v2')
    """
    if text_width(text, size, bold=bold) <= room:
        return text
    while text and text_width(f"{text}…", size, bold=bold) > room:
        text = text[:-1]
    return f"{text}…"
