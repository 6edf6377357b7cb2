"""Small pictures of numbers made of boxes: bars under a figure, the interval on a scale, parts of a whole."""

from __future__ import annotations

from collections.abc import Sequence

from .html import Child, Markup, tag


def bar(text: Child, part: float, style: str = "first", *, title: str | None = None) -> Markup:
    """A figure over a thin bar, `part` of its cell wide (0...1)."""
    width = f"{100 * min(max(part, 0.0), 1.0):.1f}%"
    fill = tag(f"i.{style}", at={"style": f"width:{width}"})
    return tag("span.bar", tag("span.value", text), tag("span.track", fill), at={"title": title})


def scale(value: float, low: float, high: float, baseline: float | None) -> Markup:
    """The line from 0 to 100 percent with a rate, its interval, and a baseline to compare with. All fractions."""
    parts = [
        tag("i.interval", at={"style": f"left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"}),
        tag("i.point", at={"style": f"left:{100 * value:.2f}%"}),
    ]
    if baseline is not None:
        parts.insert(0, tag("i.baseline", at={"style": f"left:{100 * baseline:.2f}%"}))
    ends = [tag("span", f"{edge}\N{NO-BREAK SPACE}%") for edge in (0, 25, 50, 75, 100)]
    return tag("div.scale", tag("div.rail", parts), tag("div.ends", ends), at={"aria-hidden": "true"})


def parts_of_whole(parts: Sequence[tuple[str, int, str]]) -> Markup:
    """One bar divided by (name, amount, style)."""
    whole = sum(amount for _, amount, _ in parts) or 1
    pieces = [
        tag(f"i.{style}", at={"style": f"width:{100 * amount / whole:.2f}%", "title": f"{name}: {amount:,}"})
        for name, amount, style in parts
        if amount
    ]
    return tag("div.whole", pieces, at={"aria-hidden": "true"})
