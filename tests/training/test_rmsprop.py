"""TensorFlow's RMSprop, step by step against its formula and against Keras, and through a checkpoint."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from mobilenets.training.checkpoint import load_optimiser_, optimiser_tensors
from mobilenets.training.rmsprop import RMSpropTF

SHAPES = [(4, 3), (5,), (2, 3, 3, 3)]


def weights_and_gradients(steps: int) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]
    return weights, [[rng.normal(size=shape).astype(np.float32) for shape in SHAPES] for _ in range(steps)]


def stepped(
    optimiser: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], gradients: list[np.ndarray]
) -> None:
    for parameter, gradient in zip(parameters, gradients):
        parameter.grad = torch.from_numpy(gradient.copy())
    optimiser.step()


@pytest.mark.parametrize(("momentum", "eps", "decay"), [(0.9, 1.0, 0.0), (0.0, 1e-3, 0.0), (0.9, 1e-3, 0.1)])
def test_each_step_is_tensorflows(momentum: float, eps: float, decay: float) -> None:
    """The rule of `ApplyRMSProp` in double precision, the learning rate changing on the way."""
    weights, gradients = weights_and_gradients(8)
    parameters = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in weights]
    optimiser = RMSpropTF(parameters, 0.1, rho=0.9, momentum=momentum, eps=eps, weight_decay=decay)
    expected = [w.astype(np.float64) for w in weights]
    squares, moments = [np.ones(s) for s in SHAPES], [np.zeros(s) for s in SHAPES]
    for index, given in enumerate(gradients):
        lr = 0.1 * 0.5**index
        optimiser.param_groups[0]["lr"] = lr
        stepped(optimiser, parameters, given)
        for k, gradient in enumerate(given):
            g = gradient + decay * expected[k]
            squares[k] = 0.9 * squares[k] + 0.1 * g**2
            moments[k] = momentum * moments[k] + lr * g / np.sqrt(squares[k] + eps)
            expected[k] = expected[k] - moments[k]
            assert np.abs(parameters[k].detach().numpy() - expected[k]).max() < 2e-6


def test_torchs_own_goes_elsewhere() -> None:
    """What the difference is for: with the same settings torch's first step is several times as long."""
    weights, (gradients,) = weights_and_gradients(1)
    lengths = []
    for make in (
        lambda p: RMSpropTF(p, 0.1, rho=0.9, momentum=0.9, eps=1e-3),
        lambda p: torch.optim.RMSprop(p, 0.1, alpha=0.9, momentum=0.9, eps=1e-3),
    ):
        parameters = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in weights]
        stepped(make(parameters), parameters, gradients)
        lengths.append(float(np.abs(parameters[0].detach().numpy() - weights[0]).mean()))
    assert lengths[1] > 3 * lengths[0]


@pytest.mark.slow
def test_keras_from_the_same_state_takes_the_same_steps() -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    weights, gradients = weights_and_gradients(5)
    theirs = [keras.Variable(w) for w in weights]
    reference = keras.optimizers.RMSprop(0.05, rho=0.9, momentum=0.9, epsilon=1e-3)
    reference.build(theirs)
    for velocity in reference._velocities:  # Keras begins at 0, TensorFlow at 1
        velocity.assign(np.ones(velocity.shape, np.float32))
    parameters = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in weights]
    optimiser = RMSpropTF(parameters, 0.05, rho=0.9, momentum=0.9, eps=1e-3)
    for given in gradients:
        reference.apply([keras.ops.convert_to_tensor(g) for g in given], theirs)
        stepped(optimiser, parameters, given)
    for ours, other in zip(parameters, theirs):
        assert np.abs(ours.detach().numpy() - other.value.detach().numpy()).max() < 1e-6


def test_a_weight_without_a_gradient_stays_and_a_checkpoint_goes_on() -> None:
    weights, gradients = weights_and_gradients(6)
    runs = []
    for stop in (None, 3):
        parameters = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in weights]
        still = torch.nn.Parameter(torch.ones(3))
        optimiser = RMSpropTF([*parameters, still], 0.1)
        for index, given in enumerate(gradients):
            if index == stop:
                saved = {name: tensor.clone() for name, tensor in optimiser_tensors(optimiser).items()}
                optimiser = RMSpropTF([*parameters, still], 0.1)
                load_optimiser_(optimiser, saved)
            stepped(optimiser, parameters, given)
        assert torch.equal(still, torch.ones(3))
        runs.append(parameters)
    assert all(torch.equal(a, b) for a, b in zip(*runs))
