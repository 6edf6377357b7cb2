"""Training at a resolution that grows: the sides, what a Run does with them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mobilenets.api import train
from mobilenets.data.loader import Loader
from mobilenets.errors import UserError
from mobilenets.training.choose import Changes, choose_recipe
from mobilenets.training.loading import growing_resolution
from mobilenets.training.run import RECIPE

SETTINGS: dict[str, Any] = {"model": "mobilenet_v1_025", "resolution": 64, "recipe": "small_pictures", "batch_size": 16}


def test_the_side_grows_to_the_middle_by_multiples_of_16() -> None:
    side = growing_resolution(224, 0.5, 20)
    sides = [side(epoch) for epoch in range(20)]
    assert sides == [112, 128, 128, 144, 160, 160, 176, 192, 208, 208, *[224] * 10]  # 112 + 11.2 an epoch
    assert {growing_resolution(196, 0.5, 20)(epoch) % 16 for epoch in range(10)} == {0}
    assert growing_resolution(196, 0.5, 20)(10) == 196
    assert [growing_resolution(32, 0.25, 4)(epoch) for epoch in range(4)] == [32] * 4  # never below 32


def test_a_run_trains_at_the_sides_of_its_epochs(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides, batch = [], Loader._batch

    def noted(self: Loader, *arguments: Any) -> Any:
        made = batch(self, *arguments)
        sides.append(made.images.shape[1])
        return made

    monkeypatch.setattr(Loader, "_batch", noted)
    train(shapes, out=tmp_path / "run", **SETTINGS, epochs=2, progressive=0.5)
    steps = len(sides) // 2
    assert sides == [32] * steps + [64] * steps
    assert json.loads((tmp_path / "run" / RECIPE).read_text())["recipe"]["progressive"] == 0.5


def test_what_has_no_epochs_to_grow_by_is_refused(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"progressive 0\.5 goes by the epochs.*give --epochs"):
        train(shapes, out=tmp_path / "run", **SETTINGS, minutes=1, progressive=0.5)
    for value in (0.2, 1.1):
        with pytest.raises(UserError, match=f"progressive {value} is out of range: allowed is at least 0.25 and"):
            choose_recipe("default", 224, Changes(progressive=value))
    assert choose_recipe("default", 224, Changes()).progressive == 1
