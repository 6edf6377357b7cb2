"""The class in Swift: this bundle's numbers in it, and every way of resizing."""

from __future__ import annotations

from typing import Any

import pytest

from mobilenets.arch.spec import Interpolation, Preprocessing
from mobilenets.deploy.runtimes.coreml import unique
from mobilenets.deploy.runtimes.coreml_example import swift_example


@pytest.mark.parametrize("resize", ["shortest", "squash", "central"])
@pytest.mark.parametrize("interpolation", ["area_linear", "bilinear", "bicubic"])
def test_swift_is_written_for_every_way_of_resizing(interpolation: Interpolation, resize: Any) -> None:
    ways = Preprocessing(resolution=32, crop_fraction=0.8, resize=resize, interpolation=interpolation)
    source = swift_example(ways, "x.mlpackage", ["amber", 'a "b"\\'], {"temperature": 1.5, "threshold": 0.4})
    for words in (
        '[\n        "amber",\n        "a \\"b\\"\\\\",\n    ]',
        "side = 32\n",
        "temperature: Float = 1.5 ",
        "threshold: Float = 0.4 ",
    ):
        assert words in source
    assert ("* 40 /" in source) == (resize == "shortest")
    assert ("h * 0.8" in source) == (resize == "central")
    assert ("Pillow" in source) == (interpolation != "area_linear")
    assert source.count("{") == source.count("}")
    assert max(map(len, source.splitlines())) <= 120


def test_labels_that_occur_again_get_their_place() -> None:
    assert unique(["crane", "kite", "crane"]) == ["crane", "kite", "crane (2)"]
