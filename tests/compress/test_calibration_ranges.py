"""Ranges of activations: the histogram is exact, each method keeps its promise, and zero always stays zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mobilenets.compress.points import Point
from mobilenets.compress.ranges import BINS, METHODS, Range, Seen, range_method
from mobilenets.errors import UserError

_BATCHES = st.lists(
    st.lists(st.floats(-1e4, 1e4, width=32) | st.just(0.0), min_size=1, max_size=30), min_size=1, max_size=6
)


def seen(*batches: Tensor) -> Seen:
    found = Seen()
    for batch in batches:
        found.add(batch)
    return found


def grid(ends: Range) -> Point:
    point = Point(torch.int8, -128, 127, torch.per_tensor_affine)
    point.cover(*ends)
    return point


def squared_error(values: Tensor, ends: Range) -> float:
    """Of really rounding the values to int8 over that range."""
    return float(((grid(ends).rounded(values) - values).double() ** 2).mean())


def normal(count: int = 50_000, seed: int = 0) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def assert_exact(found: Seen, values: np.ndarray) -> None:
    """Below each edge lie as many as numpy counts, up to those so near to it that float32 cannot tell."""
    edges = (np.arange(2 * BINS + 1) - BINS) * found.width
    near = 1e-6 * BINS * found.width
    below = np.concatenate([[0], np.cumsum(found.counts.numpy())])
    ordered = np.sort(values.astype(np.float64))
    assert (np.searchsorted(ordered, edges - near, "left") <= below).all()
    assert (below <= np.searchsorted(ordered, edges + near, "right")).all()
    assert below[-1] == len(values)


@settings(max_examples=60, deadline=None)
@given(_BATCHES)
def test_the_histogram_counts_what_numpy_counts_in_any_order(batches: list[list[float]]) -> None:
    values = np.concatenate([np.array(batch, np.float32) for batch in batches])
    tensors = [torch.tensor(batch) for batch in batches]
    for order in (tensors, tensors[::-1], sorted(tensors, key=lambda batch: float(batch.abs().max()))):
        found = seen(*order)
        assert (found.low, found.high) == (values.min(), values.max())
        assert found.zeros == (values == 0).sum()
        assert_exact(found, values)


def test_a_batch_out_of_reach_doubles_the_width_and_moves_no_count_across_an_edge() -> None:
    small, large = (torch.arange(-40, 40) + 0.5) / 16, torch.tensor([-90.0, 3.0, 130.0])
    found = seen(small)
    first = found.width
    found.add(large)
    assert found.width == first * 64  # 2.5 to 160
    edges = (np.arange(2 * BINS + 1) - BINS) * found.width
    expected, _ = np.histogram(torch.cat([small, large]).double().numpy(), edges)
    assert found.counts.tolist() == expected.tolist()


def test_no_number_of_images_needs_more_memory() -> None:
    found = Seen()
    for scale in (1e-6, 1.0, 1e6, 3.0, 1e12):
        found.add(scale * normal(1000))
        assert found.counts.shape == (2 * BINS,)
    assert found.counts.sum() == 5000


def test_a_batch_of_zeros_counts_whenever_it_comes() -> None:
    zeros, values = torch.zeros(7), torch.tensor([-1.0, 0.0, 2.0])
    before, after = seen(zeros, values), seen(values, zeros)
    assert before.zeros == after.zeros == 8
    assert before.counts.sum() == 10
    assert torch.equal(before.counts, after.counts)


def test_extremes_alone_keep_no_histogram() -> None:
    found = Seen()
    found.add(torch.tensor([-1.0, 2.0]), histogram=False)
    assert (found.low, found.high, found.width, float(found.counts.sum())) == (-1, 2, 0, 0)


def test_min_max_is_all_that_was_seen() -> None:
    assert METHODS["min-max"](seen(torch.tensor([1.0, 2.0]), torch.tensor([-3.0, 0.5]))) == (-3.0, 2.0)


def test_the_moving_average_goes_a_tenth_of_the_way() -> None:
    found = seen(torch.tensor([-1.0, 1.0]), torch.tensor([-2.0, 11.0]))
    assert METHODS["moving-average"](found) == pytest.approx((-1.1, 2.0))


def test_percentile_cuts_one_outlier_on_either_side() -> None:
    values = normal()
    low, high = METHODS["percentile"](seen(values, torch.tensor([-500.0, 1000.0])))
    assert -500 < low < torch.quantile(values, 0.001)
    assert torch.quantile(values, 0.999) < high < 1000
    assert squared_error(values, (low, high)) < 0.01 * squared_error(values, (-500, 1000))


def test_percentile_cuts_nothing_of_few_values() -> None:
    low, high = METHODS["percentile"](seen(normal(100)))
    assert (low, high) == (normal(100).min(), normal(100).max())


def test_mse_rounds_outliers_with_less_error_than_min_max_and_than_any_coarse_cut() -> None:
    values = torch.cat([normal(200_000), torch.tensor([-30.0, 50.0])])
    found = seen(*values.split(20_000))
    best = squared_error(values, METHODS["mse"](found))
    assert best < 0.8 * squared_error(values, METHODS["min-max"](found))
    parts = (0.2, 0.4, 0.6, 0.8, 1.0)
    assert best < 1.01 * min(squared_error(values, (-30 * low, 50 * high)) for low in parts for high in parts)


@pytest.mark.parametrize("threshold", [0.0, 1.65, 3.0])
def test_mse_is_not_misled_by_zeros_into_cutting(threshold: float) -> None:
    values = torch.relu(normal() - threshold)  # as after a ReLU: 50 %, 95 %, 99.9 % zeros
    found = seen(*values.split(5000))
    assert squared_error(values, METHODS["mse"](found)) <= 1.001 * squared_error(values, METHODS["min-max"](found))


@pytest.mark.parametrize("threshold", [0.0, 1.65, 3.0])
def test_entropy_is_not_misled_by_a_spike_at_zero(threshold: float) -> None:
    values = torch.relu(normal() - threshold)
    low, high = METHODS["entropy"](seen(*values.split(5000)))
    assert low == 0
    assert high >= torch.quantile(values[values > 0], 0.99)


def test_entropy_cuts_a_far_outlier() -> None:
    _, high = METHODS["entropy"](seen(normal().abs(), torch.tensor([100.0])))
    assert 3 < high < 50


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "values",
    [
        normal(2000),
        torch.relu(normal(2000)),
        -torch.relu(normal(2000)) - 0.1,
        normal(2000) * 0.1 + 5,  # far from zero
        torch.tensor([2.5]),
        torch.full((10,), -1e-9),
        torch.zeros(10),
    ],
    ids=["both sides", "relu", "negative", "far", "constant", "tiny", "zeros"],
)
def test_zero_is_exact_in_every_range_and_the_grid_reaches_its_ends(method: str, values: Tensor) -> None:
    low, high = METHODS[method](seen(values))
    assert low <= high
    point = grid((low, high))
    assert point.rounded(torch.zeros(1)) == 0
    assert -128 <= point.zero_point <= 127
    ends = torch.tensor([low, high])
    assert (point.rounded(ends) - ends).abs().max() <= 0.5001 * float(point.scale)


@pytest.mark.parametrize("method", METHODS)
def test_no_method_reaches_beyond_zero_and_what_was_seen(method: str) -> None:
    values = normal(20_000) + 0.5
    low, high = METHODS[method](seen(*values.split(1000)))
    assert values.min() - 1e-6 <= low < 0 < high <= values.max() + 1e-6


def test_an_unknown_method_is_one_line_that_names_the_known() -> None:
    assert range_method("mse") is METHODS["mse"]
    with pytest.raises(UserError, match=r"'kl'; allowed: min-max, moving-average, percentile, mse, entropy$"):
        range_method("kl")
