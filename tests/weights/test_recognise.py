"""Every network of the registry is read back from its graph, however the graph is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from graphs import Writer, graph_of, random_network
from interpreter import before_softmax, run_graph

from mobilenets.arch.adapt import folded
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import Block, Head, Preprocessing, Spec
from mobilenets.errors import UserError
from mobilenets.nn.network import Network, build_network
from mobilenets.weights.graph import Graph, Node, Normalisation, Source
from mobilenets.weights.recognise import recognise
from mobilenets.weights.recognised import Recognised

CONVOLUTIONAL = [name for name in ARCHITECTURES if "hybrid" not in name]


def loaded(found: Recognised) -> Network:
    network = build_network(found.spec).eval()
    network.load_state_dict({name: torch.from_numpy(values) for name, values in found.state.items()})
    return network


def read(graph: Graph, **options: Any) -> Recognised:
    return recognise(Source(format="test", graph=graph), "file.test", **options)


def agree(network: Network, found: Recognised, tolerance: float = 1e-5, size: int = 64) -> None:
    images = torch.randn(2, network.spec.in_channels, size, size)
    with torch.inference_mode():
        wanted, got = network(images), loaded(found)(images)
    assert got.shape == wanted.shape
    assert (wanted - got).abs().max() <= tolerance * wanted.abs().max()


@pytest.mark.parametrize("name", CONVOLUTIONAL)
@pytest.mark.parametrize("form", ["together", "apart", "folded"])
def test_a_network_is_read_back_from_its_graph(name: str, form: str) -> None:
    spec = create_spec(name, width=0.5, profile="authors", resolution=64)
    network = random_network(folded(spec) if form == "folded" else spec)
    found = read(graph_of(network, apart=form == "apart"))
    assert found.spec.name == spec.name
    assert found.spec.blocks == network.spec.blocks
    assert found.spec.head == network.spec.head
    assert found.spec.padding == "same"
    assert found.spec.norm.kind == network.spec.norm.kind
    assert found.state.keys() == network.state_dict().keys()
    agree(network, found)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mobilenet_v1", {"width": 0.35}),
        ("mobilenet_v2", {"width": 1.1, "layer_multiplier": 1.2, "fixed_stem_and_head": True}),
        ("mobilenet_v2", {"width": 1.4}),
        ("mobilenet_v3_small", {"width": 0.5, "fixed_stem": True}),
        ("mobilenet_v3_large", {"width": 0.75}),
        ("mobilenet_v1", {"activation": "relu"}),
        ("mobilenet_v2", {"background": True}),
        ("mobilenet_v1", {"in_channels": 1}),
        ("mobilenet_v3_small", {"padding": "symmetric"}),
        ("mobilenet_v2", {"classes": 0}),
    ],
    ids=str,
)
def test_settings_are_recovered(name: str, settings: dict[str, Any]) -> None:
    spec = create_spec(name, **({"profile": "authors", "resolution": 64} | settings))
    network = random_network(spec)
    found = read(graph_of(network))
    assert found.spec.name == spec.name
    assert found.spec.blocks == spec.blocks
    assert found.spec.head == spec.head
    assert (found.spec.padding, found.spec.norm.eps) == (spec.padding, spec.norm.eps)
    assert found.used == tuple(dict.fromkeys(found.used))
    agree(network, found)


def test_the_interpreter_of_graphs_gives_what_the_network_gives() -> None:
    network = random_network(create_spec("mobilenet_v3_small", profile="authors", resolution=64))
    graph = graph_of(network, apart=True)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        wanted = network(images).numpy()
    assert np.abs(run_graph(graph, images.numpy(), before_softmax(graph)) - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_explicit_padding_that_equals_same_at_this_size_is_same() -> None:
    """Keras pads (0, 1, 0, 1) before a valid convolution where the side is even, (1, 1, 1, 1) where it is odd."""
    spec = create_spec("mobilenet_v2", profile="authors", resolution=64)
    network = random_network(spec)
    graph = graph_of(network)
    for size, pad in ((64, (0, 1, 0, 1)), (0, (0, 1, 0, 1))):
        nodes = tuple(replace(node, pad=pad) if node.pad == "same" else node for node in graph.nodes)
        found = read(replace(graph, nodes=nodes, height=size, width=size))
        assert found.spec.padding == "same"
        assert all(block.pad is None for block in found.spec.blocks)
        assert found.spec.resolution == (size or 224)


def test_padding_of_no_rule_stands_in_the_block() -> None:
    network = random_network(create_spec("mobilenet_v1", profile="authors", resolution=64))
    graph = graph_of(network)
    strided = [node.name for node in graph.nodes if node.pad == "same"]
    nodes = tuple(replace(node, pad=(1, 0, 1, 0)) if node.name == strided[2] else node for node in graph.nodes)
    found = read(replace(graph, nodes=nodes))
    assert [block.pad for block in found.spec.blocks if block.pad] == [(1, 0, 1, 0)]
    images = torch.randn(1, 3, 64, 64)
    wanted = run_graph(replace(graph, nodes=nodes), images.numpy(), before_softmax(graph))
    with torch.inference_mode():
        assert np.abs(loaded(found)(images).numpy() - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_a_network_of_no_registry_is_read_as_it_is() -> None:
    """MobileFaceNet's end: a depthwise convolution over the whole map and a linear 1x1 one, with no pooling."""
    blocks = (
        Block(kind="conv", c_in=3, c_mid=16, c_out=16, k_mid=3, stride=2, act="relu6"),
        Block(kind="inverted", c_in=16, c_mid=32, c_out=24, k_mid=3, stride=2, act="relu6", linear=True),
        Block(kind="inverted", c_in=24, c_mid=48, c_out=24, k_mid=3, act="relu6", linear=True, residual=True),
        Block(kind="conv", c_in=24, c_mid=64, c_out=64, k_mid=1, act="relu6"),
        Block(kind="separable", c_in=64, c_mid=64, c_out=32, k_mid=16, pad=(0, 0, 0, 0), act="identity", linear=True),
    )
    spec = Spec(
        name="face",
        generation=2,
        blocks=blocks,
        head=Head(c_in=32, classes=0),
        preprocessing=Preprocessing(resolution=64),
    )
    network = random_network(spec)
    graph = graph_of(network)
    found = read(replace(graph, nodes=graph.nodes[:-1], outputs=(graph.nodes[-2].output,)))
    assert found.spec.name == "mobilenet_v2_custom"
    assert found.spec.blocks == blocks
    assert found.spec.head.classes == 0
    agree(network, found)


def test_different_epsilons_become_one() -> None:
    network = random_network(create_spec("mobilenet_v1", profile="authors", resolution=64))
    graph = graph_of(network)
    third = [node.name for node in graph.nodes if node.op == "norm"][3]
    nodes = tuple(replace(node, eps=0.02) if node.name == third else node for node in graph.nodes)
    found = read(replace(graph, nodes=nodes))
    assert found.spec.norm.eps == 1e-3
    images = torch.randn(1, 3, 64, 64)
    wanted = run_graph(replace(graph, nodes=nodes), images.numpy(), before_softmax(graph))
    with torch.inference_mode():
        assert np.abs(loaded(found)(images).numpy() - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_what_the_graph_does_to_its_input_becomes_the_preprocessing() -> None:
    network = random_network(create_spec("mobilenet_v3_small", profile="authors", resolution=64))
    graph = graph_of(network)
    weights = {"scale": np.array([1 / 127.5], np.float32), "offset": np.array([-1.0], np.float32)}
    rescale = Node(op="affine", name="rescale", inputs=("raw",), output=graph.input, weights=weights)
    found = read(replace(graph, nodes=(rescale, *graph.nodes), input="raw"))
    assert np.allclose(found.spec.preprocessing.mean, 127.5)
    assert np.allclose(found.spec.preprocessing.std, 127.5)
    assert "in the graph" in found.facts["normalisation"]


def test_a_value_made_twice_is_refused() -> None:
    graph = graph_of(random_network(create_spec("mobilenet_v1", width=0.25, profile="authors", resolution=64)))
    with pytest.raises(UserError, match="'vn0' is made twice"):
        read(replace(graph, nodes=(*graph.nodes, graph.nodes[0])))


def test_a_file_that_takes_bgr_becomes_a_network_that_takes_rgb() -> None:
    network = random_network(create_spec("mobilenet_v1", profile="authors", resolution=64))
    normalisation = Normalisation(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), stated=False, custom="test", bgr=True)
    found = recognise(Source(format="test", graph=graph_of(network), normalisation=normalisation), "file.test")
    assert found.spec.preprocessing.mean == (1.0, 2.0, 3.0)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        wanted, got = network(images), loaded(found)(images.flip(1))
    assert (wanted - got).abs().max() < 1e-5 * wanted.abs().max()


def test_a_detector_is_refused_and_gives_its_backbone_where_that_is_asked() -> None:
    network = random_network(create_spec("mobilenet_v2", width=0.5, profile="authors", resolution=64))
    graph = graph_of(network)
    write = Writer(nodes=list(graph.nodes), tensors=list(graph.tensors))
    taps = [node.output for node in graph.nodes if node.op == "add"][-2:]
    boxes = [write.add("conv", (tap,), weights={"weight": torch.randn(8, 80, 1, 1)}) for tap in taps]
    detector = replace(graph, nodes=tuple(write.nodes), tensors=tuple(write.tensors), outputs=(*graph.outputs, *boxes))
    with pytest.raises(UserError, match=r"file\.test: not only a classifier: 19 blocks .* --backbone"):
        read(detector)
    found = read(detector, backbone=True)
    assert found.spec.name == "mobilenet_v2_050"
    assert found.spec.head.classes == 0
    assert len(found.set_aside) == 4
    assert set(found.set_aside.values()) == {"not part of the backbone"}


def test_a_tensor_that_nothing_uses_is_an_error() -> None:
    graph = graph_of(random_network(create_spec("mobilenet_v1", width=0.25, profile="authors", resolution=64)))
    with pytest.raises(UserError, match=r"1 tensors would be left over, 'stray' first"):
        read(replace(graph, tensors=(*graph.tensors, "stray")))
    assert read(replace(graph, tensors=(*graph.tensors, "stray"), set_aside={"stray": "a counter"})).set_aside


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"act": "sigmoid"}, "ends in sigmoid; known activations"),
        ({"act": "leaky_relu", "slope": 0.2}, "leaky ReLU of slope 0.2"),
    ],
)
def test_an_activation_of_no_network_is_named(change: dict[str, Any], message: str) -> None:
    graph = graph_of(random_network(create_spec("mobilenet_v1", width=0.25, profile="authors", resolution=64)))
    nodes = tuple(replace(node, **change) if node.op == "act" else node for node in graph.nodes)
    with pytest.raises(UserError, match=message):
        read(replace(graph, nodes=nodes))


def test_mixed_activations_in_a_block_are_named() -> None:
    graph = graph_of(random_network(create_spec("mobilenet_v1", width=0.25, profile="authors", resolution=64)))
    acts = [node.name for node in graph.nodes if node.op == "act"]
    nodes = tuple(replace(node, act="relu") if node.name == acts[4] else node for node in graph.nodes)
    with pytest.raises(UserError, match="mixes the activations relu, relu6"):
        read(replace(graph, nodes=nodes))


def unlike(graph: Graph, **change: Any) -> Graph:
    """The graph with its last convolution or linear layer changed."""
    last = [node.name for node in graph.nodes if node.op in ("conv", "linear")][-1]
    return replace(graph, nodes=tuple(replace(n, **change) if n.name == last else n for n in graph.nodes))


@pytest.fixture(scope="module")
def small() -> Graph:
    return graph_of(random_network(create_spec("mobilenet_v1", width=0.25, padding="same", resolution=64, classes=10)))


def test_a_classifier_that_ends_in_an_activation_is_refused(small: Graph) -> None:
    logits = small.nodes[-2].output
    sigmoid = Node(op="act", name="sigmoid", inputs=(logits,), output="scores", act="sigmoid")
    with pytest.raises(UserError, match=r"file\.test: its classifier ends in sigmoid"):
        read(replace(small, nodes=(*small.nodes[:-1], sigmoid), outputs=("scores",)))


def test_a_flattened_map_before_the_classifier_is_refused(small: Graph) -> None:
    weight = np.zeros((10, 1024), np.float32)
    bias = np.zeros(10, np.float32)
    with pytest.raises(UserError, match="takes 1024 values where 256 channels are pooled"):
        read(unlike(small, weights={"weight": weight, "bias": bias}))


def test_a_second_output_is_named(small: Graph) -> None:
    pooled = next(node.output for node in small.nodes if node.op == "pool")
    with pytest.raises(UserError, match=f"gives '{pooled}' too"):
        read(replace(small, outputs=(*small.outputs, pooled)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_damage(small: Graph, value: float) -> None:
    nodes = list(small.nodes)
    weights = {role: values.copy() for role, values in nodes[0].weights.items()}
    weights["weight"][0, 0, 0, 0] = value
    nodes[0] = replace(nodes[0], weights=weights)
    with pytest.raises(UserError, match=r"damaged: blocks\.0\.conv\.conv\.weight holds values"):
        read(replace(small, nodes=tuple(nodes)))


def test_zeros_of_padding_before_a_same_convolution_change_nothing(small: Graph) -> None:
    first = small.nodes[0]
    pad = Node(op="pad", name="pad", inputs=first.inputs, output="padded", pad=(0, 0, 0, 0))
    found = read(replace(small, nodes=(pad, replace(first, inputs=("padded",)), *small.nodes[1:])))
    assert found.spec.padding == "same"
    assert found.spec.blocks[0].pad is None


def test_the_dilation_is_that_of_the_kernel(small: Graph) -> None:
    """A 1x1 convolution may carry any number for its dilation: it has none."""
    nodes = tuple(
        replace(n, dilation=(2, 2)) if n.op == "conv" and n.weights["weight"].shape[2] == 1 else n for n in small.nodes
    )
    assert {block.dilation for block in read(replace(small, nodes=nodes)).spec.blocks} == {1}


def test_every_slope_of_a_leaky_relu_counts() -> None:
    spec = create_spec("mobilenet_v1", width=0.25, activation="leaky_relu", padding="same", resolution=64)
    graph = graph_of(random_network(spec))
    assert {block.act for block in read(graph).spec.blocks} == {"leaky_relu"}
    second = [node.name for node in graph.nodes if node.op == "act"][2]
    nodes = tuple(replace(node, slope=0.3) if node.name == second else node for node in graph.nodes)
    with pytest.raises(UserError, match=r"leaky ReLU of slope 0\.3"):
        read(replace(graph, nodes=nodes))


def test_the_smallest_epsilon_keeps_every_variance_positive(small: Graph) -> None:
    norms = [node.name for node in small.nodes if node.op == "norm"]
    nodes = tuple(replace(node, eps=1e-3) if node.name in norms[1:] else node for node in small.nodes)
    found = read(replace(small, nodes=nodes))
    assert found.spec.norm.eps == 1e-5
    assert all(values.min() >= 0 for name, values in found.state.items() if name.endswith("running_var"))
