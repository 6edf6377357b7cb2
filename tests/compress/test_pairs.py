"""The bound under which no CPU overflows: by which factor weights are too large, and what is too large at all."""

from __future__ import annotations

import pytest
import torch
from roundable import calibrated, pictures, shipped

from mobilenets.compress.pairs import LIMIT, excess
from mobilenets.compress.rounding import adapt_rounding_


def test_neighbouring_input_channels_add_up() -> None:
    weight = torch.tensor([[127.0, 127.0, 0.0], [127.0, -127.0, 127.0], [-100.0, -100.0, 3.0], [60.0, 60.0, 127.0]])
    assert excess(weight).tolist() == pytest.approx([254 / LIMIT, 127 / LIMIT, 200 / LIMIT, 1.0])
    assert excess(weight.view(4, 3, 1, 1)).tolist() == excess(weight).tolist()


def test_in_a_kernel_any_two_do_and_depthwise_none() -> None:
    full = torch.zeros(2, 4, 3, 3)
    full[0, 0, 0, 0], full[1, 3, 2, 2] = 127.0, -40.0
    assert excess(full).tolist() == pytest.approx([254 / LIMIT, 1.0])
    assert excess(torch.full((5, 1, 3, 3), 127.0)).tolist() == [1.0] * 5


@pytest.mark.parametrize("repair", [False, True])
def test_what_is_rounded_fits_into_16_bits(repair: bool) -> None:
    """Adapted rounding moves each weight by less than one, which the bound leaves room for."""
    simulation = calibrated(shipped("mobilenet_v2", width=0.35), pictures(32))
    if repair:
        adapt_rounding_(simulation, pictures(32))
    for layer in simulation.layers.values():
        steps = simulation.integers(layer).int()
        one, other = steps[:, 0::2], steps[:, 1::2]
        pairs = one[:, : other.shape[1]]
        for sign in (1, -1):
            assert (255 * ((sign * pairs).clamp_min(0) + (sign * other).clamp_min(0)) <= 2**15 - 1).all(), layer.name
