"""Several networks in one picture: bars as long as their figures, ratios to the first, no text over another."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from drawn import SVG, area_of_rect, groups, overlapping, texts

import mobilenets
from mobilenets.arch.cost import cost
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.drawing.comparison import draw_comparison
from mobilenets.drawing.svg import to_svg
from mobilenets.errors import UserError


def test_every_network_beside_the_others() -> None:
    costs = [cost(create_spec(name)) for name in ARCHITECTURES]
    root = ElementTree.fromstring(to_svg(draw_comparison(costs)))
    page = area_of_rect(root[2])
    assert not list(overlapping(texts(root)))
    assert all(text.inside(page) for text in texts(root))
    rows = groups(root, "network")
    assert [row.get("data-name", "").split(",")[0] for row in rows] == list(ARCHITECTURES)
    for colour, key in (("#7d8f69", "params"), ("#d9a441", "activation_bytes")):
        bars = [bar for row in rows for bar in map(area_of_rect, row.iter(f"{SVG}rect")) if bar.what == colour]
        most = max(getattr(each, key) for each in costs)
        lengths = [84 * getattr(each, key) / most for each in costs]
        assert [bar.right - bar.left for bar in bars] == pytest.approx(lengths, abs=0.02)
    for row, each in zip(rows, costs):
        bars = [area_of_rect(bar) for bar in row.iter(f"{SVG}rect")][:-3]
        whole = 84 * (each.macs + each.macs_attention) / max(one.macs + one.macs_attention for one in costs)
        assert bars[-1].right - bars[0].left == pytest.approx(whole, abs=0.02)
    ratio = costs[3].params / costs[0].params
    assert f"×{ratio:.2f}" in [text.what for text in texts(rows[3])]
    assert not any("×" in text.what for text in texts(rows[0]))


def test_the_python_function_takes_a_list(tmp_path: Path) -> None:
    network = mobilenets.create_model("mobilenet_v2", width=0.5)
    path = mobilenets.plot(["mobilenet_v1", create_spec("mobilenet_v2"), network], tmp_path / "three.svg")
    words = [text.what for text in texts(ElementTree.parse(path).getroot())]
    assert {"mobilenet_v1, 224 px", "mobilenet_v2, 224 px", "mobilenet_v2_050, 224 px"} <= set(words)
    assert mobilenets.plot(["mobilenet_v1"], tmp_path / "one.svg").read_text().count('class="row') == 15
    with pytest.raises(UserError, match="layers is of one network"):
        mobilenets.plot(["mobilenet_v1", "mobilenet_v2"], tmp_path / "two.svg", detail="layers")
    with pytest.raises(UserError, match="no network named"):
        mobilenets.plot([], tmp_path / "none.svg")
