"""What an epoch shows: each image once by default, classes in balance, images repeated, and always again the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilenets.data.augment import DRAWS, draw
from mobilenets.data.sampling import Sampling, sample_epoch
from mobilenets.errors import UserError

LABELS = np.repeat([0, 1, 2], [160, 40, 10])


def test_by_default_it_is_the_plain_draw() -> None:
    order, numbers = sample_epoch(3, 7, LABELS, Sampling())
    plain, rows = draw(3, 7, len(LABELS))
    assert (order == plain).all()
    assert (numbers == rows[plain]).all()


@pytest.mark.parametrize(
    ("balance", "expected"),
    [(1.0, [70, 70, 70]), (0.5, [210 * n**0.5 / (160**0.5 + 40**0.5 + 10**0.5) for n in (160, 40, 10)])],
)
def test_classes_get_their_share(balance: float, expected: list[float]) -> None:
    order, _ = sample_epoch(0, 0, LABELS, Sampling(balance=balance))
    assert len(order) == 210
    assert np.abs(np.bincount(LABELS[order]) - expected).max() < 1
    times = np.bincount(order, minlength=210)
    for label in range(3):  # within a class no image comes up twice more often than another
        own = times[label == LABELS]
        assert own.max() - own.min() <= 1


def test_over_epochs_every_image_of_a_large_class_comes_up() -> None:
    seen = np.concatenate([sample_epoch(0, e, LABELS, Sampling(balance=1.0))[0] for e in range(20)])
    assert len(np.unique(seen)) == 210


def test_repeats_stand_side_by_side_with_numbers_of_their_own() -> None:
    order, numbers = sample_epoch(0, 1, LABELS, Sampling(repeats=3))
    assert order.shape == (210,)
    assert numbers.shape == (210, DRAWS)
    triples = order.reshape(70, 3)
    assert (triples == triples[:, :1]).all()
    assert len(np.unique(order)) == 70
    assert len(np.unique(numbers[:, 0])) > 200


@given(st.integers(0, 99), st.floats(0, 1), st.integers(1, 5))
def test_the_same_again_and_another_epoch_other(seed: int, balance: float, repeats: int) -> None:
    sampling = Sampling(balance=balance, repeats=repeats)
    first, again = (sample_epoch(seed, 2, LABELS, sampling) for _ in range(2))
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()
    assert len(first[0]) == 210
    assert (first[0] != sample_epoch(seed, 3, LABELS, sampling)[0]).any()


def test_a_class_without_images_is_left_out() -> None:
    order, _ = sample_epoch(0, 0, np.array([0, 0, 0, 2, 2]), Sampling(balance=1.0))
    assert set(order.tolist()) <= set(range(5))


def test_out_of_range() -> None:
    with pytest.raises(UserError, match="sampling balance 2 is out of range"):
        Sampling(balance=2.0)
    with pytest.raises(UserError, match="sampling repeats 0 is out of range"):
        Sampling(repeats=0)
