"""Names and shapes of tensors without a network: those of the network itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mobilenets.arch.adapt import folded, with_in_channels
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import Spec
from mobilenets.errors import UserError
from mobilenets.nn.network import build_network
from mobilenets.weights.names import faults, tensor_shapes


def same_as_network(spec: Spec) -> None:
    with torch.device("meta"):
        state = build_network(spec).state_dict()
    assert list(tensor_shapes(spec).items()) == [(name, tuple(tensor.shape)) for name, tensor in state.items()]


@pytest.mark.parametrize("width", [0.35, 1.4])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_shapes_are_the_networks(name: str, width: float) -> None:
    spec = create_spec(name, width=width)
    same_as_network(spec)
    same_as_network(folded(spec))


def test_ends_and_partly_folded_blocks() -> None:
    same_as_network(with_in_channels(create_spec("mobilenet_v3_small", classes=0), 1))
    same_as_network(create_spec("mobilenet_v1", classes=5, background=True, channels_per_input=2))
    spec = create_spec("mobilenet_v2")
    blocks = (spec.blocks[0], replace(spec.blocks[1], folded=("depthwise",)), *spec.blocks[2:])
    same_as_network(replace(spec, blocks=blocks, head=replace(spec.head, bias=False)))


def test_a_network_in_its_training_form_is_refused() -> None:
    with pytest.raises(UserError, match=r"mobilenet_v2: its convolutions have branches \(reparam 2\) where single"):
        tensor_shapes(create_spec("mobilenet_v2", reparam=2))


def test_faults_name_each_tensor_that_does_not_fit() -> None:
    expected = {"a.weight": (4, 3, 1, 1), "b.weight": (2,), "n.num_batches_tracked": ()}
    assert faults({"a.weight": (4, 3), "b.weight": (2,)}, expected) == []
    assert faults({"a.weight": (3, 4), "c.weight": (2,)}, expected) == [
        "b.weight is missing",
        "c.weight is one too many",
        "a.weight has shape (3, 4) where (4, 3, 1, 1) is needed",
    ]
