"""The figures' pictures, and the mathematics they show."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mobilenets.errors import UserError
from mobilenets.nn.layers import activation, gate
from mobilenets.papers import curves, spiral
from mobilenets.papers.drawing import pictures
from mobilenets.papers.registry import ENTRIES, entries

DRAWN = [id for id, entry in ENTRIES.items() if entry.draw]


def test_the_issue_s_figures_are_drawn() -> None:
    assert DRAWN == ["v1.fig4", "v1.fig5", "v2.fig1", "v3.fig6"]


@pytest.mark.parametrize("id", DRAWN)
def test_a_figure_becomes_a_picture_with_something_in_it(id: str, tmp_path: Path) -> None:
    (path,) = pictures(entries([id]), tmp_path / "figure.png")
    picture = cv2.imread(str(path))
    assert picture is not None
    assert min(picture.shape[:2]) >= 250
    assert (picture < 200).any(axis=2).mean() > 0.005  # ink
    assert path.stat().st_size < 100_000


def test_several_figures_go_into_a_folder_by_id_and_tables_are_left_out(tmp_path: Path) -> None:
    written = pictures(entries(["v1.fig4", "v1.table4", "v3.fig6"]), tmp_path / "pictures")
    assert written == [tmp_path / "pictures" / "v1.fig4.png", tmp_path / "pictures" / "v3.fig6.png"]
    assert all(path.is_file() for path in written)


def test_a_table_and_another_kind_of_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"v1.table4 is no figure; pictures: v1.fig4, v1.fig5"):
        pictures(entries(["v1.table4"]), tmp_path / "table.png")
    with pytest.raises(UserError, match=r"figure.gif is not possible; allowed: a name that ends in .png"):
        pictures(entries(["v1.fig4"]), tmp_path / "figure.gif")


def test_without_matplotlib_one_line_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r'pip install "mobilenets\[plot\]"'):
        pictures(entries(["v1.fig4"]), tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


# V1 figures 4 and 5 --------------------------------------------------------------------------------------------------


def test_the_grid_has_sixteen_networks_and_every_paper_accuracy_of_tables_6_7_and_9() -> None:
    rows = ENTRIES["v1.fig4"].rows
    assert len(rows) == 16
    paper = {row.name: row.figures["paper_top1"].printed for row in rows if "paper_top1" in row.figures}
    assert paper == {
        "1.0 MobileNet-224": "70.6",
        "0.75 MobileNet-224": "68.4",
        "0.5 MobileNet-224": "63.7",
        "0.25 MobileNet-224": "50.6",
        "1.0 MobileNet-192": "69.1",
        "1.0 MobileNet-160": "67.2",
        "1.0 MobileNet-128": "64.4",
        "0.5 MobileNet-160": "60.2",
    }


# V2 figure 1 ---------------------------------------------------------------------------------------------------------


def test_a_point_is_lost_exactly_where_the_layer_has_no_slope_in_some_direction() -> None:
    points = spiral.spiral()[:, ::50]
    for n in (2, 3, 5):
        t = spiral.matrix(n, seed=7)
        for point, gone in zip(points.T, spiral.lost(points, t)):
            slope = t * (t @ point > 0)[:, None]  # the Jacobian of ReLU(T x)
            assert (np.linalg.matrix_rank(slope) < 2) == gone


def test_where_nothing_is_cut_off_the_spiral_comes_back_whole() -> None:
    points = spiral.spiral()
    t = spiral.matrix(2, seed=1)
    kept = (t @ points > 0).all(axis=0)
    assert 0 < kept.sum() < spiral.POINTS
    np.testing.assert_allclose(spiral.there_and_back(points, t)[:, kept], points[:, kept], atol=1e-9)


def test_over_many_layers_the_share_lost_is_the_expected_one() -> None:
    rows = {row.name: row.figures for row in ENTRIES["v2.fig1"].rows}
    assert rows.keys() == {"n = 2", "n = 3", "n = 5", "n = 15", "n = 30"}
    for figures in rows.values():
        assert figures["mean"].computed == pytest.approx(figures["expected"].computed, abs=0.02)
    assert rows["n = 2"]["expected"].computed == 0.75
    assert float(str(rows["n = 3"]["picture"].computed)) > 0.3 > float(str(rows["n = 5"]["picture"].computed))
    assert rows["n = 15"]["picture"].computed == rows["n = 30"]["picture"].computed == 0


# V3 figure 6 ---------------------------------------------------------------------------------------------------------


def test_the_curves_are_those_that_the_networks_compute() -> None:
    x = torch.tensor(curves.GRID, dtype=torch.float64)
    theirs = {
        "hard_swish": activation("hard_swish")(x.clone()),
        "hard_sigmoid": gate("hard_sigmoid")(x.clone()),
        "swish": torch.nn.SiLU()(x),
        "sigmoid": torch.sigmoid(x),
    }
    for name, values in theirs.items():
        ours = torch.tensor([getattr(curves, name)(each) for each in curves.GRID], dtype=torch.float64)
        torch.testing.assert_close(ours, values, rtol=0, atol=1e-12)
