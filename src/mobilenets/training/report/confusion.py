"""The confusion matrix: whole up to 30 classes, beyond that its largest mistakes and a picture of the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .bars import bar
from .facts import Facts
from .figures import count, percent, plural
from .html import Child, Markup, details, scroll, section, table, tag

WHOLE = 30  # classes up to which the whole matrix is shown
BESIDE, LARGE, LEVEL = 12, 6, 4  # classes up to which: pairs stand beside the matrix; cells are large; headings level
PAIRS, MORE = 10, 40  # confused pairs listed at once, and on a click
TITLED = 6000  # cells of the compact matrix up to which each has a title


def confusion(facts: Facts) -> Markup:
    """The section of the confusion matrix; empty where nothing was scored."""
    evaluation = facts.evaluation
    if evaluation is None or not evaluation.get("confusion"):
        return Markup()
    counts = np.asarray(evaluation["confusion"], np.int64)
    names = [str(name) for name in evaluation["labels"]]
    pairs = confused_pairs(counts)
    body: list[Child] = [tag("p.lead", _lead(counts, names, pairs))]
    if len(names) <= WHOLE:
        matrix = tag("div.card", scroll(_matrix(counts, names)), _reading())
        style = "div.split" if len(names) <= LEVEL else "div.split.wide" if len(names) <= BESIDE else "div"
        body.append(tag(style, matrix, _pairs_card(counts, names, pairs)))
    else:
        body.append(tag("div.split", _pairs_card(counts, names, pairs), _compact_card(counts, names)))
    return section("confusion", "Confusion", body)


def confused_pairs(counts: np.ndarray) -> list[tuple[int, int]]:
    """(true, predicted) of every mistake that was made, the most frequent first, then the largest part of its class."""
    totals = np.maximum(counts.sum(axis=1), 1)
    found = [(int(t), int(p)) for t, p in zip(*np.nonzero(counts)) if t != p]
    return sorted(found, key=lambda pair: (-counts[pair], -counts[pair] / totals[pair[0]], pair))


def _lead(counts: np.ndarray, names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[Child]:
    if not pairs:
        return ["No image was taken for another class."]
    true, predicted = pairs[0]
    number, of = int(counts[true, predicted]), int(counts[true].sum())
    if number == 1 and len(pairs) > 1:
        return [f"{len(pairs)} pairs of classes were confused, none of them more than once."]
    return [
        "The most frequent mistake: ",
        tag("b", names[true]),
        " taken for ",
        tag("b", names[predicted]),
        f", {plural(number, 'time')} in {count(of)} ({percent(number / of)}).",
    ]


def _matrix(counts: np.ndarray, names: Sequence[str]) -> Markup:
    """A table with the true class in rows; a cell's colour is its part of the row."""
    totals = counts.sum(axis=1)
    style = "table.matrix" + (".large" if len(names) <= LARGE else "") + (".level" if len(names) <= LEVEL else "")
    head = tag(
        "tr",
        tag("th.corner", tag("span", "true ↓"), " ", tag("span", "predicted →")),
        [tag("th", tag("span", name), at={"scope": "col", "title": name}) for name in names],
        tag("th.total", tag("span", "images"), at={"scope": "col"}),
    )
    rows = [
        tag(
            "tr",
            tag("th", name, at={"scope": "row", "title": name}),
            [_cell(int(n), int(totals[i]), i == j, f"{name} → {names[j]}") for j, n in enumerate(counts[i])],
            tag("td.total", count(int(totals[i]))),
        )
        for i, name in enumerate(names)
    ]
    return tag(style, tag("thead", head), tag("tbody", rows))


def _cell(number: int, total: int, right: bool, name: str) -> Markup:
    part = number / total if total else 0.0
    if not number:
        return tag("td.none", "·" if not right else "0", at={"title": f"{name}: 0"})
    style = f"td.{'right' if right else 'wrong'}" + (".strong" if part > 0.82 else "")
    return tag(
        style,
        tag("b", count(number)),
        tag("small", percent(part, 0)),
        at={"style": f"--part:{_shade(part):.3f}", "title": f"{name}: {count(number)} of {count(total)}"},
    )


def _shade(part: float) -> float:
    """Opacity of a cell: one image must be seen, and half must differ from all."""
    return 0.1 + 0.9 * part**0.8


def _reading(before: str = "") -> Markup:
    return tag(
        "p.quiet",
        before + "Rows are the true classes, columns the answers. ",
        tag("i.key.right"),
        "right, ",
        tag("i.key.wrong"),
        "wrong; the stronger, the larger its part of the row.",
    )


def _pairs_card(counts: np.ndarray, names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> Markup:
    if not pairs:
        return Markup()
    title = f"The {PAIRS} most confused of {len(pairs)} pairs" if len(pairs) > PAIRS else "Most confused"
    rest = pairs[PAIRS:MORE]
    more = details(f"The next {len(rest)}", _pairs_table(counts, names, rest)) if rest else None
    return tag("div.card", tag("h3", title), _pairs_table(counts, names, pairs[:PAIRS]), more)


def _pairs_table(counts: np.ndarray, names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> Markup:
    totals = counts.sum(axis=1)
    rows = [
        (names[t], names[p], bar(f"{counts[t, p]} of {totals[t]}", counts[t, p] / totals[t], "wrong")) for t, p in pairs
    ]
    return table(("True", "Predicted", "Images"), rows, style="names")


def _compact_card(counts: np.ndarray, names: Sequence[str]) -> Markup:
    return tag(
        "figure.card",
        tag("h3", f"All {len(names)} classes"),
        _compact(counts, names),
        tag("figcaption", _reading("The classes stand in the order of the labels. ")),
    )


def _compact(counts: np.ndarray, names: Sequence[str]) -> Markup:
    """One square for each cell that is not zero, in eight shades; with titles while there are not too many."""
    size = len(names)
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shades = np.ceil(8 * parts).astype(int)
    rows, columns = np.nonzero(counts)
    cells: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for i, j in zip(rows.tolist(), columns.tolist()):
        cells.setdefault(("right" if i == j else "wrong", int(shades[i, j])), []).append((i, j))
    titled = len(rows) <= TITLED
    groups = [
        tag(
            f"g.{kind}",
            _titled(places, counts, names) if titled else _untitled(places),
            at={"fill-opacity": f"{_shade(shade / 8):.2f}"},
        )
        for (kind, shade), places in sorted(cells.items())
    ]
    frame = tag("rect.frame", at={"width": size, "height": size})
    label = f"Confusion matrix of {size} classes"
    return tag("svg.compact", frame, groups, at={"viewBox": f"0 0 {size} {size}", "role": "img", "aria-label": label})


def _titled(places: Sequence[tuple[int, int]], counts: np.ndarray, names: Sequence[str]) -> list[Markup]:
    return [
        tag(
            "rect",
            tag("title", f"{names[i]} → {names[j]}: {counts[i, j]} of {counts[i].sum()}"),
            at={"x": j, "y": i, "width": 1, "height": 1},
        )
        for i, j in places
    ]


def _untitled(places: Sequence[tuple[int, int]]) -> Markup:
    return tag("path", at={"d": "".join(f"M{j} {i}h1v1h-1z" for i, j in places)})
