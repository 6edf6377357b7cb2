"""The TensorFlow.js reader: whole networks, as graph models and as layers models."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interpreter import before_softmax, run_graph
from tfjs_networks import STORED, graph_of, v1_graph, v1_layers, v2_graph, v2_layers, v3_graph
from tfjs_writer import LayersModel, Weights

from mobilenets.weights import tfjs


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("make", [v1_graph, v2_graph, v3_graph, v1_layers, v2_layers])
def test_a_generated_network_gives_what_its_definition_gives(make: Any, stored: str, tmp_path: Path) -> None:
    net = make(Weights(stored))
    source = tfjs.read(net.write(tmp_path, shards=3))
    graph = source.graph
    assert graph is not None
    layers = isinstance(net, LayersModel)
    assert source.format == f"TensorFlow.js {'layers' if layers else 'graph'} model"
    assert source.quantisation == (f"{stored}, per tensor, weights only" if stored.startswith("uint") else "")
    assert source.normalisation is None
    assert (graph.channels, graph.height, graph.width) == (3, *net.images.shape[2:])
    expected = net.values["logits" if layers else "Identity"].numpy()
    assert np.abs(run_graph(graph, net.images.numpy()) - expected).max() < 1e-5
    if not layers:
        logits = net.values["logits"].numpy()
        found = run_graph(graph, net.images.numpy(), before_softmax(graph))
        assert np.abs(found - logits).max() <= 1e-5 * np.abs(logits).max()


@pytest.mark.parametrize("make", [v1_graph, v2_graph, v3_graph, v1_layers, v2_layers])
def test_every_tensor_is_a_source_or_set_aside(make: Any, tmp_path: Path) -> None:
    net = make(Weights())
    graph = graph_of(net.write(tmp_path))
    floats = {entry["name"] for entry in net.weights.entries if entry["dtype"] == "float32"}
    sources = [source for node in graph.nodes for source in node.sources]
    assert sorted(sources) == sorted(floats)
    assert set(graph.set_aside) == set(graph.tensors) - floats
    assert set(graph.set_aside.values()) <= {"a size, an axis or a flag (int32)"}
    assert all(values.dtype == np.float32 for node in graph.nodes for values in node.weights.values())


def test_operations_of_the_fused_and_of_the_plain_graph(tmp_path: Path) -> None:
    fused = Counter(node.op for node in graph_of(v1_graph(Weights()).write(tmp_path)).nodes)
    assert fused == {"conv": 7, "act": 7, "pool": 1, "linear": 1, "softmax": 1, "same": 1}
    plain = graph_of(v2_graph(Weights()).write(tmp_path))
    counts = Counter(node.op for node in plain.nodes)
    assert counts == {
        "pad": 1,
        "conv": 7,
        "norm": 7,
        "act": 5,
        "add": 1,
        "pool": 1,
        "linear": 1,
        "softmax": 1,
        "same": 1,
    }
    assert {node.eps for node in plain.nodes if node.op == "norm"} == {0.001}
    assert [node.groups for node in plain.nodes if node.op == "conv"] == [1, 1, 24, 1, 1, 24, 1]


def test_a_folder_stands_for_its_model_json(tmp_path: Path) -> None:
    file = v1_graph(Weights()).write(tmp_path)
    assert tfjs.matches(file)
    assert tfjs.matches(tmp_path)
    assert graph_of(tmp_path).tensors == graph_of(file).tensors
    (tmp_path / "other.json").write_text("{}")
    assert not tfjs.matches(tmp_path / "other.json")
    assert not tfjs.matches(tmp_path / "group1-shard1of1.bin")
