"""Every network draws: well-formed, a box for each block, nothing over anything else, the same bytes each time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from drawn import SVG, area_of_rect, groups, overlapping, texts

import mobilenets
from mobilenets.arch.cost import cost
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import Spec
from mobilenets.drawing.plot import default_path, draw, write
from mobilenets.drawing.rows import DETAILS, rows
from mobilenets.drawing.svg import to_svg
from mobilenets.errors import UserError
from mobilenets.figures import short

NAMES = [*ARCHITECTURES, "mobilenet_v1_025", "mobilenet_v2_200"]
A4 = 190, 277  # mm inside margins of 10
SMALLEST_LETTERS_PT = 5.5


def parsed(spec: Spec, detail: str = "blocks") -> ElementTree.Element:
    return ElementTree.fromstring(to_svg(draw(spec, detail)))


@pytest.mark.parametrize("detail", DETAILS)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_overlaps_and_nothing_leaves_its_box(name: str, detail: str) -> None:
    check_geometry(parsed(create_spec(name), detail))


def check_geometry(root: ElementTree.Element) -> None:
    """Fails where two texts overlap, or anything leaves its chip, box or page."""
    assert root.tag == f"{SVG}svg"
    page = replace(area_of_rect(root[2]), what="page")
    assert (page.left, page.top) == (0, 0)
    assert f"0 0 {page.right:g} {page.bottom:g}" == root.get("viewBox")
    found = texts(root)
    assert not list(overlapping(found))
    assert all(text.inside(page) for text in found)
    boxes = []
    for row in groups(root, "row"):
        box = area_of_rect(next(row.iter(f"{SVG}rect")))
        boxes.append(box)
        assert all(text.inside(box) for text in texts(row))
        chips = [area_of_rect(next(chip.iter(f"{SVG}rect"))) for chip in groups(row, "chip")]
        assert not list(overlapping(chips))
        assert all(chip.inside(box) for chip in chips)
    assert not list(overlapping(boxes))
    for chip in groups(root, "chip"):
        outline, *strips = [area_of_rect(rect) for rect in chip.iter(f"{SVG}rect")]
        (words,) = texts(chip)
        assert words.inside(outline)
        assert not any(words.overlaps(strip) for strip in strips)


@pytest.mark.parametrize("detail", DETAILS)
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mobilenet_v1", {"channels_per_input": 8, "total_stride": 1, "resolution": 32, "in_channels": 1}),
        ("mobilenet_v2", {"width": 0.0625, "activation": "leaky_relu", "classes": 0}),
        ("mobilenet_v3_large", {"output_stride": 8, "classes": 21843, "background": True, "resolution": 1024}),
        ("mobilenet_v3_small", {"activation": "identity", "profile": "authors", "padding": "same"}),
        ("mobilenet_v4_hybrid_medium", {"width": 1.37, "output_stride": 8, "resolution": 97}),
    ],
)
def test_any_settings_draw(name: str, settings: dict[str, Any], detail: str) -> None:
    check_geometry(parsed(create_spec(name, **settings), detail))


@pytest.mark.parametrize("name", NAMES)
def test_a_box_for_every_block_and_every_layer(name: str) -> None:
    spec = create_spec(name)
    whole = cost(spec)
    blocks = groups(parsed(spec), "row")
    assert [block.get("data-name") for block in blocks] == [*map(str, range(len(spec.blocks))), "head"]
    layers = groups(parsed(spec, "layers"), "row")
    assert [layer.get("data-name") for layer in layers] == [layer.name for layer in whole.layers]
    arcs = groups(parsed(spec), "arc")
    assert len(arcs) == sum(block.residual for block in spec.blocks)


@pytest.mark.parametrize("detail", DETAILS)
@pytest.mark.parametrize("name", NAMES)
def test_the_rows_add_up_to_the_network(name: str, detail: str) -> None:
    spec = create_spec(name)
    whole = cost(spec)
    found = rows(spec, whole, detail)
    assert sum(row.macs for row in found) == whole.macs
    assert sum(row.macs_attention for row in found) == whole.macs_attention
    assert sum(row.params for row in found) == whole.params
    (peak,) = [row for row in found if row.peak]
    assert peak.alive_bytes == whole.activation_bytes == max(row.alive_bytes for row in found)
    assert found[-1].out == whole.layers[-1].out


@pytest.mark.parametrize("name", NAMES)
def test_the_bars_are_as_long_as_their_figures(name: str) -> None:
    spec = create_spec(name)
    picture = ElementTree.fromstring(to_svg(draw(spec)))
    found = rows(spec, cost(spec), "blocks")
    bars = [area_of_rect(rect) for rect in picture.findall(f"{SVG}rect")]
    memory = sorted((bar for bar in bars if bar.what in ("#d9a441", "#c0392b")), key=lambda bar: bar.top)
    assert len(memory) == len(found)
    longest = max(bar.right - bar.left for bar in memory)
    most = max(row.alive_bytes for row in found)
    for bar, row in zip(memory, found):
        assert bar.right - bar.left == pytest.approx(longest * row.alive_bytes / most, abs=0.5)
        assert (bar.what == "#c0392b") == row.peak
    assert all(lower.top > upper.bottom for upper, lower in pairwise(memory))


@pytest.mark.parametrize("name", NAMES)
def test_blocks_and_stages_are_readable_on_a_page_of_a4(name: str) -> None:
    for detail in ("stages", "blocks"):
        root = parsed(create_spec(name), detail)
        width, height = float(root.get("width", "")), float(root.get("height", ""))
        millimetres = min(A4[0] / width, A4[1] / height)  # of one pixel
        sizes = [float(text.get("font-size", "")) for text in root.iter(f"{SVG}text") if text.text != "peak"]
        assert min(sizes) * millimetres / 25.4 * 72 >= SMALLEST_LETTERS_PT


def test_what_a_block_shows() -> None:
    spec = create_spec("mobilenet_v3_large", output_stride=16)
    root = parsed(spec)
    (block,) = [row for row in groups(root, "row") if row.get("data-name") == "14"]
    assert [text.what for text in texts(block)] == ["14", "inverted", "1×1, 960", "dw 5×5 d2", "SE 240", "1×1, 160"]
    strips = [[area_of_rect(rect).what for rect in list(chip.iter(f"{SVG}rect"))[1:]] for chip in groups(block, "chip")]
    swish, relu, sigmoid = "#2d6cc0", "#d1495b", "#3f8f5f"
    assert strips == [[swish], [swish], [relu, sigmoid], []]
    words = [text.what for text in texts(root)]
    assert "14×14×160" in words
    whole = cost(spec)
    assert any(short(whole.macs) in text and short(whole.activation_bytes, "B") in text for text in words)
    assert {"c1", "c2", "c3", "c4", "c5"} <= set(words)
    tooltip = block.findtext(f"{SVG}title") or ""
    macs = sum(layer.macs for layer in whole.layers if layer.name.startswith("blocks.14."))
    assert f"{macs:,} MACs" in tooltip


def test_a_depthwise_layer_that_multiplies_channels_says_so() -> None:
    root = parsed(create_spec("mobilenet_v1", channels_per_input=8))
    words = [text.what for text in texts(groups(root, "row")[2])]
    assert words == ["2", "separable", "dw 3×3 s2, 512", "1×1, 128"]


def test_the_variants_of_v4_by_their_names() -> None:
    root = parsed(create_spec("mobilenet_v4_hybrid_medium"))
    kinds = {row.get("class", "").split()[1] for row in groups(root, "row")}
    assert kinds == {"conv", "fused", "extra_dw", "convnext", "ffn", "attention", "head"}
    attention = next(row for row in groups(root, "row") if "attention" in row.get("class", ""))
    shown = [text.what for text in texts(attention)]
    assert shown[1:] == ["MQA", "norm", "Q 4×64", "K, V 64 s2", "attention", "1×1, 160", "γ"]


@pytest.mark.parametrize("file", ["blocks.svg", "layers.svg", "stages.png"])
def test_two_drawings_are_equal(file: str, tmp_path: Path) -> None:
    spec, detail = create_spec("mobilenet_v4_hybrid_medium"), file.partition(".")[0]
    first, second = (write(draw(spec, detail), tmp_path / f"{n}" / file).read_bytes() for n in (1, 2))
    assert first == second


DOCS = Path(__file__).resolve().parents[2] / "docs"


SHOWN = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "mobilenet_v4_conv_small")


@pytest.mark.parametrize("name", SHOWN)
def test_the_pictures_in_the_docs_are_what_is_drawn(name: str) -> None:
    assert f"](images/{name}.svg)" in (DOCS / "networks.md").read_text(encoding="utf-8")
    recorded = (DOCS / "images" / f"{name}.svg").read_text(encoding="utf-8")
    assert recorded == to_svg(draw(create_spec(name))), f"mobilenets plot {name} --out docs/images/{name}.svg"


def test_the_png_is_the_same_picture(tmp_path: Path) -> None:
    picture = draw(create_spec("mobilenet_v2"))
    image = cv2.imread(str(write(picture, tmp_path / "v2.png")))
    assert image.shape[:2] == (round(2 * picture.height), round(2 * picture.width))
    root = ElementTree.fromstring(to_svg(picture))
    for row in groups(root, "row"):
        strip = area_of_rect(list(row.iter(f"{SVG}rect"))[1])
        y, x = round(strip.top + strip.bottom), round(strip.left + strip.right)
        colour = "#" + "".join(f"{value:02x}" for value in image[y, x, ::-1])
        assert colour == strip.what
    (name,) = [text for text in texts(root) if text.what == "mobilenet_v2"]
    written = image[2 * int(name.top) : 2 * int(name.bottom), 2 * int(name.left) : 2 * int(name.right)]
    assert (written < 128).mean() > 0.1
    right = image[2 * int(name.top) : 2 * int(name.bottom), 2 * int(name.right) + 4 :]
    assert np.all(right == 255)


def test_any_name_and_any_network(tmp_path: Path) -> None:
    wild = 'a "<b> & \x00\ud800 $x_1$ \n字' + "é" * 200
    spec = replace(create_spec("mobilenet_v1_025", classes=0, in_channels=17, resolution=33), name=wild)
    root = parsed(spec)
    (title,) = [text for text in texts(root) if text.what.startswith("a ")]
    assert title.what.startswith('a "<b> & \N{REPLACEMENT CHARACTER}')
    assert title.what.endswith("…")
    assert title.inside(area_of_rect(root[2]))
    assert not list(overlapping(texts(root)))
    assert default_path(spec).name.isprintable()
    assert "/" not in str(default_path(spec))
    write(draw(spec), tmp_path / "wild.png")


def test_the_python_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert mobilenets.plot("mobilenet_v2", width=0.5) == Path("mobilenet_v2_050.svg")
    assert mobilenets.plot("mobilenet_v2_050", "named.svg").read_bytes() == Path("mobilenet_v2_050.svg").read_bytes()
    network = mobilenets.create_model("mobilenet_v2", width=0.5)
    assert mobilenets.plot(network, "built.svg").read_bytes() == Path("named.svg").read_bytes()
    network.reset_head(3)
    assert "linear 3" in mobilenets.plot(network, "three.svg").read_text(encoding="utf-8")
    for path in ("v2.pdf", "v2", "svg"):
        with pytest.raises(UserError, match=r"\.svg or \.png"):
            mobilenets.plot("mobilenet_v2", path)
    with pytest.raises(UserError, match="'all'; allowed: stages, blocks, layers"):
        mobilenets.plot("mobilenet_v2", detail="all")


def test_a_png_without_matplotlib_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    mobilenets.plot("mobilenet_v2", tmp_path / "v2.svg")
    with pytest.raises(UserError, match=r"mobilenets\[plot\]"):
        mobilenets.plot("mobilenet_v2", tmp_path / "v2.png")
    assert [path.name for path in tmp_path.iterdir()] == ["v2.svg"]
