"""Verdicts: on differences that are there, that are not, that are the other way, and how often the margin holds."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenets.papers.experiments.designs import Claim, Comparison
from mobilenets.papers.experiments.student import t_quantile
from mobilenets.papers.experiments.verdict import Difference, Verdict, fit, judge, mean, seed_variance

COMPARISON = Comparison("a - b", {"a": 1, "b": -1})


def drawn(
    rates: dict[str, float], *, seeds: int, images: int, spread: float = 0.0, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Answers of networks whose chance to be right depends on the cell, the seed, and how hard an image is."""
    hard = rng.normal(0, 0.15, images)
    hits = {}
    for cell, rate in rates.items():
        chance = rate + rng.normal(0, spread, seeds)[:, None] + hard[None, :]
        hits[cell] = rng.random((seeds, images)) < chance
    return hits


def difference(hits: dict[str, np.ndarray]) -> Difference:
    return judge(Claim("a is better", (COMPARISON,)), hits).differences[0]


@pytest.mark.parametrize(
    ("a", "b", "verdict"), [(0.7, 0.5, "shown"), (0.5, 0.7, "not shown"), (0.6, 0.6, "within the noise")]
)
def test_a_large_difference_is_told_and_none_is_not(a: float, b: float, verdict: Verdict) -> None:
    rng = np.random.default_rng(4)
    found = difference(drawn({"a": a, "b": b}, seeds=3, images=2000, spread=0.01, rng=rng))
    assert found.verdict == verdict
    assert found.difference == pytest.approx(a - b, abs=0.05)


def test_seeds_that_differ_widen_the_margin() -> None:
    steady = {"a": np.tile([[True] * 6 + [False] * 4], (3, 100)), "b": np.tile([[True] * 5 + [False] * 5], (3, 100))}
    uneven = {cell: hits.copy() for cell, hits in steady.items()}
    uneven["a"][0, :300], uneven["a"][1, 600:] = False, True
    assert difference(steady).verdict == "shown"
    assert difference(uneven).margin > 3 * difference(steady).margin
    assert difference(uneven).verdict == "within the noise"


def test_the_margin_holds_as_often_as_it_says_and_seldom_fails() -> None:
    rng = np.random.default_rng(0)
    outside = 0
    for _ in range(600):
        hits = drawn({"a": 0.62, "b": 0.6, "c": 0.5}, seeds=3, images=400, spread=0.02, rng=rng)
        found = difference(hits)
        outside += abs(found.difference - 0.02) > found.margin
    assert 2 <= outside <= 39, "95 % intervals leave out about 30 of 600, and ours are a little wide"


def test_images_are_paired() -> None:
    rng = np.random.default_rng(1)
    same = rng.random((1, 2000)) < 0.6
    better = same.copy()
    better[0, np.flatnonzero(~same[0])[:20]] = True
    alone = {"a": better, "b": same}
    assert difference(alone).difference == pytest.approx(0.01)
    assert difference(alone).margin < 0.005, "unpaired, it would be 0.03"
    assert difference(alone).verdict == "shown"


def test_one_seed_says_nothing_of_seeds() -> None:
    assert seed_variance([np.ones((1, 9), bool), np.zeros((1, 9), bool)]) == (0.0, 0)
    assert mean(np.ones((1, 9), bool)).spread is None


def test_the_variance_over_seeds_is_pooled_over_cells() -> None:
    a = np.zeros((3, 100), bool)
    a[0, :10], a[1, :20], a[2, :30] = True, True, True
    b = np.zeros((3, 100), bool)
    b[:, :50] = True
    variance, freedom = seed_variance([a, b])
    assert freedom == 4
    assert variance == pytest.approx((np.var([0.1, 0.2, 0.3], ddof=1) + 0) / 2)


def test_a_mean_says_its_interval_and_its_spread() -> None:
    hits = np.zeros((2, 100), bool)
    hits[0, :40], hits[1, :60] = True, True
    found = mean(hits)
    assert found.top1 == pytest.approx(0.5)
    assert found.seeds == pytest.approx((0.4, 0.6))
    assert found.spread == pytest.approx(np.std([0.4, 0.6], ddof=1))
    assert found.interval[0] < 0.41 < 0.59 < found.interval[1]


def test_a_claim_is_as_strong_as_its_weakest_mean_and_single_cells_do_not_decide() -> None:
    n = 1000
    right = {"high": 800, "middle": 600, "again": 600, "low": 300}
    hits = {cell: np.tile(np.arange(n) < count, (2, 1)) for cell, count in right.items()}
    up = Comparison("up", {"high": 1, "middle": -1})
    level = Comparison("level", {"middle": 1, "again": -1})
    down = Comparison("down", {"low": 1, "high": -1})
    single = Comparison("single", {"low": 1, "high": -1}, mean=False)
    for comparisons, verdict in (
        ((up,), "shown"),
        ((up, single), "shown"),
        ((up, level), "within the noise"),
        ((up, level, down), "not shown"),
    ):
        assert judge(Claim("text", comparisons), hits).verdict == verdict


def test_the_line_over_log_multiply_adds() -> None:
    found = fit([10, 20, 40, 80], [0.5, 0.53, 0.56, 0.59])
    assert found == (pytest.approx(0.03), pytest.approx(1.0))
    uneven = fit([10, 20, 40], [0.5, 0.6, 0.5])
    assert uneven == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-9))
    assert fit([10, 20, 20], [0.5, 0.6, 0.6]) is None


# two-sided 95 % quantiles, as any table of the distribution prints them
@pytest.mark.parametrize(
    ("freedom", "printed"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042), (120, 1.980), (4.9, 2.776)],
)
def test_students_quantiles(freedom: float, printed: float) -> None:
    assert t_quantile(freedom) == pytest.approx(printed, abs=5e-4)
