"""From rows of answers to the document and the plot; nothing is trained here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mobilenets.errors import UserError
from mobilenets.papers.experiments.answers import pack, unpack
from mobilenets.papers.experiments.designs import Design, make_design
from mobilenets.papers.experiments.outcome import outcome
from mobilenets.papers.experiments.plan import Asked, Plan
from mobilenets.papers.experiments.rows import ROWS, read_rows, write_rows

IMAGES = 1000


def rows_of(design: Design, right: dict[str, list[int]]) -> list[dict[str, Any]]:
    """Rows whose networks are right on the first so many images, for each seed."""
    order = np.arange(IMAGES)
    return [
        {
            "cell": cell.name,
            "seed": seed,
            "macs": 1_000_000 * (index + 1) ** 2,
            "params": 1_000 * (index + 1),
            "split": "test",
            "images": IMAGES,
            "top1": count / IMAGES,
            "right": pack(order < count),
        }
        for index, cell in enumerate(design.cells)
        for seed, count in enumerate(right[cell.name])
    ]


def plan_of(name: str) -> Plan:
    asked = Asked(name, "data", False, None, None, 60.0, 5, "float32")
    return Plan(asked, "mark", 5, "float32", 8, "small_pictures", (), {})


def test_the_claims_follow_from_the_rows(tmp_path: Path) -> None:
    design = make_design("v1.table5")
    lost = outcome(tmp_path, design, plan_of("v1.table5"), rows_of(design, {"thin": [500, 510], "shallow": [700, 690]}))
    won = outcome(tmp_path, design, plan_of("v1.table5"), rows_of(design, {"thin": [700, 690], "shallow": [500, 510]}))
    assert lost["claims"][0]["verdict"] == "not shown"
    assert won["claims"][0]["verdict"] == "shown"
    (comparison,) = won["claims"][0]["comparisons"]
    assert comparison["difference"] == pytest.approx(0.19)
    assert comparison["paper_difference"] == pytest.approx(0.031)
    assert [cell["by_seed"] for cell in won["cells"]] == [[0.7, 0.69], [0.5, 0.51]]
    assert any("0.25 times the multiply-adds and 0.50 times the parameters" in note for note in won["notes"])
    assert not any("one seed" in note for note in won["notes"])
    assert "right" not in won["trainings"][0]
    json.dumps(won, allow_nan=False)


def test_a_grid_has_a_verdict_for_each_factor_a_line_and_a_plot(tmp_path: Path) -> None:
    design = make_design("v1.fig4")
    width_alone = {cell.name: [{1.0: 800, 0.5: 650, 0.25: 400}[cell.width]] for cell in design.cells}
    found = outcome(tmp_path, design, plan_of("v1.fig4"), rows_of(design, width_alone))
    assert [claim["verdict"] for claim in found["claims"]] == ["shown", "within the noise"]
    assert found["fit"]["slope"] < 0, "the made-up costs rise where top-1 falls"
    assert any("one seed" in note for note in found["notes"])
    picture = cv2.imread(found["files"]["png"])
    assert picture.shape[0] > 400
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    svg = Path(found["files"]["svg"]).read_text()
    assert "top-1" in svg or "<path" in svg
    again = outcome(tmp_path, design, plan_of("v1.fig4"), rows_of(design, width_alone))
    assert again == found
    assert Path(found["files"]["svg"]).read_text() == svg, "the same rows draw the same file"


@pytest.mark.parametrize("images", [1, 7, 8, 9, 2000])
def test_answers_are_packed_without_loss(images: int) -> None:
    hits = np.random.default_rng(images).random(images) < 0.5
    assert np.array_equal(unpack(pack(hits), images), hits)


def test_rows_are_read_back_and_a_strange_line_is_named(tmp_path: Path) -> None:
    assert read_rows(tmp_path) == []
    rows = rows_of(make_design("v1.table5"), {"thin": [3], "shallow": [4]})
    write_rows(tmp_path, rows)
    assert read_rows(tmp_path) == rows
    with (tmp_path / ROWS).open("a") as file:
        file.write("{}\n")
    with pytest.raises(UserError, match=r"rows\.jsonl: line 3 is no row"):
        read_rows(tmp_path)
