"""Adapted rounding by itself: its statistics against plain loops, its choice against trying everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx import Graph
from torch.nn import functional as F

from mobilenets.compress.graph import aten
from mobilenets.compress.lockstep import Visit
from mobilenets.compress.rounding import moments, rounded_well
from mobilenets.compress.simulation import Layer

DAMPING = 0.01
LAYER = Layer("layer", "node", "weight", "bias", "input", "layer/weight", (), 0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# The statistics ---------------------------------------------------------------------------------------------------


def visit(x: Tensor, weight: Tensor, *settings: object) -> Visit:
    """A layer with those inputs; `settings` are what the operator takes after the bias."""
    graph = Graph()
    names = [graph.placeholder(name) for name in ("x", "weight", "bias")]
    target = aten.linear.default if x.ndim == 2 else aten.conv2d.default
    node = graph.call_function(target, (*names, *settings))  # type: ignore[arg-type]
    output = target(x, weight, None, *settings)
    return Visit(LAYER, node, x, x, output, lambda: output)


def plain_moments(
    x: Tensor, residual: Tensor, kernel: tuple[int, int], geometry: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Pixel by pixel: covariances of what each output pixel is made of, and with the residual."""
    sy, sx, py, px, dy, dx, groups = geometry
    padded = F.pad(x, (px, px, py, py)).double()
    outputs, height, width = residual.shape[1:]
    channels = x.shape[1] // groups
    curvature, pull = [], []
    for group in range(groups):
        rows, missed = [], []
        own = slice(group * outputs // groups, (group + 1) * outputs // groups)
        for n, y, z in itertools.product(range(len(x)), range(height), range(width)):
            row = [
                float(padded[n, channel, y * sy + i * dy, z * sx + j * dx])
                for channel in range(group * channels, (group + 1) * channels)
                for i in range(kernel[0])
                for j in range(kernel[1])
            ]
            rows.append(row)
            missed.append(residual[n, own, y, z].tolist())
        a, b = np.array(rows), np.array(missed)
        a, b = a - a.mean(0), b - b.mean(0)
        curvature.append(a.T @ a / len(a))
        pull.append(b.T @ a / len(a))
    return torch.from_numpy(np.array(curvature)), torch.from_numpy(np.concatenate(pull))


@pytest.mark.parametrize(
    ("channels", "outputs", "kernel", "stride", "padding", "dilation", "groups"),
    [
        (4, 6, (1, 1), (1, 1), (0, 0), (1, 1), 1),
        (4, 6, (1, 1), (2, 2), (0, 0), (1, 1), 1),
        (3, 5, (3, 3), (2, 2), (1, 1), (1, 1), 1),
        (6, 6, (3, 3), (1, 1), (1, 1), (1, 1), 6),
        (6, 12, (3, 3), (2, 2), (1, 1), (1, 1), 6),
        (4, 4, (3, 3), (1, 1), (2, 2), (2, 2), 4),
        (6, 4, (3, 3), (1, 1), (1, 1), (1, 1), 2),
        (3, 2, (3, 1), (1, 2), (1, 0), (2, 1), 1),
    ],
    ids=["1x1", "strided 1x1", "strided", "depthwise", "multiplied", "dilated", "grouped", "oblong"],
)
def test_moments_of_a_convolution_are_those_of_a_plain_loop(
    channels: int,
    outputs: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> None:
    x = random(9, channels, 6, 7) + 1  # more than one slice of eight images
    weight = random(outputs, channels // groups, *kernel, seed=1)
    at = visit(x, weight, [*stride], [*padding], [*dilation], groups)
    residual = random(*at.exact_output.shape, seed=2) + 0.3 * at.exact_output
    curvature, pull = moments(at, kernel, residual)
    expected = plain_moments(x, residual, kernel, (*stride, *padding, *dilation, groups))
    assert at.groups == groups
    torch.testing.assert_close(curvature, expected[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(pull, expected[1], rtol=1e-4, atol=1e-4)


def test_moments_of_a_linear_layer_are_covariances() -> None:
    x, weight = random(20, 5) + 1, random(3, 5, seed=1)
    residual = random(20, 3, seed=2)
    curvature, pull = moments(visit(x, weight), (), residual)
    together = np.cov(np.concatenate([x, residual], 1).T.astype(np.float64), bias=True)
    np.testing.assert_allclose(curvature[0], together[:5, :5], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pull, together[5:, :5], rtol=1e-4, atol=1e-5)


def test_settings_that_a_graph_leaves_out_have_their_defaults() -> None:
    x, weight = random(2, 3, 5, 5), random(4, 3, 3, 3, seed=1)
    residual = random(2, 4, 3, 3, seed=2)
    for settings in ((), ([1, 1],), ([1, 1], [0, 0])):
        found = moments(visit(x, weight, *settings), (3, 3), residual)
        expected = plain_moments(x, residual, (3, 3), (1, 1, 0, 0, 1, 1, 1))
        torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-4)


# The choice -------------------------------------------------------------------------------------------------------


class Problem:
    """Weights of 3 outputs, the curvature they share, and what the damped loss of any choice of theirs is."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        size = int(self.random.integers(1, 9))
        inputs = self.random.normal(size=([2, 1, 4][seed % 3] * size, size))
        inputs += (seed % 3 == 2) * 2 * self.random.normal(size=(len(inputs), 1))  # inputs that go together
        self.curvature = torch.from_numpy(inputs.T @ inputs / len(inputs))
        mean = self.curvature.diagonal().mean()
        self.curved = self.curvature + DAMPING * mean * torch.eye(size, dtype=torch.float64)
        self.scale = torch.from_numpy(self.random.uniform(0.01, 0.1, (3, 1))).float()
        self.weight = torch.from_numpy(self.random.normal(0, 30, (3, size))).float() * self.scale
        pull = self.random.normal(0, 0.5, (3, size)) * (seed % 2)
        self.pull = torch.from_numpy(pull) * self.scale * mean

    def rounded(self) -> Tensor:
        """(3, K) whole steps, as chosen."""
        found = rounded_well(self.weight, self.scale, self.curvature[None], self.pull, 127, DAMPING)
        steps = found.double() / self.scale
        assert (steps - steps.round()).abs().max() < 1e-4
        return steps.round()

    def loss(self, output: int, steps: Tensor) -> float:
        change = steps * self.scale[output].double() - self.weight[output].double()
        return float(change @ self.curved @ change - 2 * change @ self.pull[output])

    @property
    def down(self) -> Tensor:
        return (self.weight.double() / self.scale).floor()

    @property
    def nearest(self) -> Tensor:
        return (self.weight.double() / self.scale).round()


def test_it_is_never_worse_than_nearest_rounding_and_mostly_the_best_there_is() -> None:
    gained, possible, best_of_all = 0.0, 0.0, []
    for seed in range(120):
        problem = Problem(seed)
        chosen, down = problem.rounded(), problem.down
        assert ((chosen == down) | (chosen == down + 1)).all()
        for output in range(3):
            found = problem.loss(output, chosen[output])
            nearest = problem.loss(output, problem.nearest[output])
            best = min(
                problem.loss(output, down[output] + torch.tensor(ups, dtype=torch.float64))
                for ups in itertools.product((0.0, 1.0), repeat=down.shape[1])
            )
            unit = float(problem.scale[output] ** 2 * problem.curved.diagonal().mean())
            assert best - 1e-6 * unit <= found <= nearest + 1e-6 * unit
            gained, possible = gained + (nearest - found) / unit, possible + (nearest - best) / unit
            best_of_all.append(found <= best + 1e-6 * unit)
    assert gained > 0.9 * possible
    assert np.mean(best_of_all) > 0.75


def test_no_single_flip_improves_what_was_chosen() -> None:
    for seed in range(200):
        problem = Problem(seed)
        chosen, down = problem.rounded(), problem.down
        for output, place in itertools.product(range(3), range(chosen.shape[1])):
            flipped = chosen[output].clone()
            flipped[place] = 2 * down[output, place] + 1 - flipped[place]
            unit = float(problem.scale[output] ** 2 * problem.curved.diagonal().mean())
            assert problem.loss(output, flipped) >= problem.loss(output, chosen[output]) - 1e-6 * unit


def test_independent_inputs_round_to_nearest() -> None:
    weight, scale = random(4, 6), torch.full((4, 1), 0.1)
    found = rounded_well(weight, scale, torch.eye(6, dtype=torch.float64)[None], torch.zeros(4, 6).double(), 127, 0.01)
    torch.testing.assert_close(found, (weight / 0.1).round() * 0.1)


def test_two_equal_inputs_share_what_both_would_lose() -> None:
    weight, scale = torch.tensor([[0.4, 0.4]]), torch.ones(1, 1)
    found = rounded_well(weight, scale, torch.ones(1, 2, 2).double(), torch.zeros(1, 2).double(), 127, 0.01)
    assert sorted(found[0].tolist()) == [0, 1]  # 1 in all, next to 0.8


def test_no_weight_gets_past_the_last_integer() -> None:
    weight, scale = torch.tensor([[127.0, -127.0, 126.6, -126.6]]), torch.ones(1, 1)
    pull = torch.tensor([[1e3, -1e3, 1e3, -1e3]]).double()  # all want outwards
    found = rounded_well(weight, scale, torch.eye(4).double()[None], pull, 127, 0.01)
    assert found.tolist() == [[127, -127, 127, -127]]


def test_groups_of_one_layer_are_chosen_as_if_each_were_a_layer_of_its_own() -> None:
    inputs = random(3, 40, 6) * torch.tensor([0.1, 1.0, 10.0]).view(3, 1, 1) + random(3, 40, 1, seed=1)
    curvature = (inputs.mT @ inputs / 40).double()
    weight, scale = random(12, 6, seed=2), torch.full((12, 1), 0.1)
    size = curvature.diagonal(dim1=1, dim2=2).mean(1).repeat_interleave(4).unsqueeze(1)
    pull = 0.05 * size * random(12, 6, seed=3)
    found = rounded_well(weight, scale, curvature, pull, 127, DAMPING)
    alone = [
        rounded_well(weight[own], scale[own], curvature[[group]], pull[own], 127, DAMPING)
        for group, own in enumerate((slice(0, 4), slice(4, 8), slice(8, 12)))
    ]
    assert torch.equal(found, torch.cat(alone))
    assert not torch.equal(found, (weight / 0.1).round() * 0.1)
