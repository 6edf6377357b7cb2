"""The two files of V1 1.0 as one network, and files that are no two parts of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interpreter import before_softmax, run_graph

from mobilenets.arch.spec import Preprocessing
from mobilenets.data.decode import decode_image
from mobilenets.data.preprocess import resize_and_crop
from mobilenets.errors import UserError
from mobilenets.weights import tflite
from mobilenets.weights.graph import Graph, Node, Source
from mobilenets.weights.join import join, join_references

BODY = "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"
HEAD = "mobilenet_quant_v1_224_head_layers.tflite"


@pytest.fixture(scope="module")
def parts(shared: Path) -> tuple[Path, Path]:
    folder = shared / "weights" / "tflite" / "mobilenet_v1_1.0_224_quant_split"
    return folder / BODY, folder / HEAD


def photographs(shared: Path, count: int) -> np.ndarray:
    paths = sorted((shared / "data" / "imagenet_samples_even" / "images").iterdir())
    preprocessing = Preprocessing(resolution=224, interpolation="bilinear")
    chosen = paths[:: len(paths) // count][:count]
    return np.stack([resize_and_crop(decode_image(path.read_bytes()), preprocessing) for path in chosen])


def compare(shared: Path, parts: tuple[Path, Path], count: int) -> tuple[float, float]:
    """Agreement on the class, and the 99.9th percentile of the logits' difference from LiteRT's two files in a row."""
    first, second = (tflite.read(path) for path in parts)
    graph = join(first, second).graph
    reference = join_references(tflite.open_reference(parts[0], first), tflite.open_head_reference(parts[1], second))
    assert graph is not None
    if reference is None:
        pytest.skip("needs ai-edge-litert")
    images = photographs(shared, count)
    wanted, got = reference(images), []
    for k in range(0, count, 20):
        pixels = ((images[k : k + 20] - 128.0) / 128.0).astype(np.float32).transpose(0, 3, 1, 2)
        got.append(run_graph(graph, pixels, before_softmax(graph)).reshape(-1, 1001))
    difference = np.abs(np.concatenate(got) - wanted)
    agreement = (np.concatenate(got).argmax(1) == wanted.argmax(1)).mean()
    return float(agreement), float(np.quantile(difference, 0.999))


def test_two_files_are_one_network(shared: Path, parts: tuple[Path, Path]) -> None:
    agreement, difference = compare(shared, parts, 12)
    assert agreement >= 0.85
    assert difference <= 0.75


@pytest.mark.slow
def test_two_files_agree_with_litert_on_125_photographs(shared: Path, parts: tuple[Path, Path]) -> None:
    agreement, difference = compare(shared, parts, 125)
    assert agreement >= 0.96
    assert difference <= 0.6


def test_the_joined_network_is_whole(parts: tuple[Path, Path]) -> None:
    first, second = (tflite.read(path) for path in parts)
    joined = join(first, second)
    graph, body, head = joined.graph, first.graph, second.graph
    assert graph is not None
    assert body is not None
    assert head is not None
    assert (graph.input, graph.height, graph.channels) == ("input", 224, 3)
    assert len(graph.tensors) == len(set(graph.tensors)) == len(body.tensors) + len(head.tensors) == 56
    assert {source for node in graph.nodes for source in node.sources} == set(graph.tensors)
    assert [node.op for node in graph.nodes[-4:]] == ["pool", "conv", "same", "softmax"]
    assert graph.nodes[-3].weights["weight"].shape == (1001, 1024, 1, 1)
    made = {graph.input}
    for node in graph.nodes:
        assert set(node.inputs) <= made
        assert node.output not in made
        made.add(node.output)
    assert joined.normalisation == first.normalisation
    assert joined.quantisation == "uint8, per tensor"
    assert joined.facts["file"] == f"{BODY} and {HEAD}"
    assert joined.facts["operators"] == "31"
    assert joined.facts["output"] == "uint8 (1, 1001), scale 0.00390625, zero point 0"


def test_the_wrong_order_is_named(parts: tuple[Path, Path]) -> None:
    first, second = (tflite.read(path) for path in parts)
    with pytest.raises(UserError, match=rf"^{HEAD}, {BODY}: the parts come in the wrong order; name {BODY} first$"):
        join(second, first)


def test_one_file_twice_is_no_network(parts: tuple[Path, Path]) -> None:
    first = tflite.read(parts[0])
    with pytest.raises(UserError, match=r"no two parts of one network: the first gives uint8 \(1, 1, 1, 1024\)"):
        join(first, first)


def test_another_scale_between_the_parts_is_refused(parts: tuple[Path, Path]) -> None:
    first, second = (tflite.read(path) for path in parts)
    other = second.facts | {"input": second.facts["input"].replace("0.0235284", "0.0235285")}
    with pytest.raises(UserError, match=r"gives .*, scale 0\.02352847.*, the second takes .*, scale 0\.02352857"):
        join(first, replace(second, facts=other))


def small(name: str, channels: int, outputs: int, **fields: object) -> Source:
    """One 1x1 convolution that calls its values and tensors as every other of these does."""
    weight = np.full((outputs, channels, 1, 1), 0.5, np.float32)
    node = Node(op="conv", name="conv", inputs=("x",), output="y", weights={"weight": weight}, sources=("w",))
    graph = Graph(
        nodes=(node, Node(op="act", name="act", inputs=("y",), output="z", act="relu")),
        input="x",
        outputs=("z",),
        channels=channels,
        height=4,
        width=4,
        tensors=("w", f"spare of {name}"),
        set_aside={f"spare of {name}": "no operator takes it"},
    )
    given: dict[str, object] = {"format": "TFLite", "graph": graph, "facts": {"file": name}} | fields
    return Source(**given)  # type: ignore[arg-type]


def test_names_of_both_parts_stay_apart() -> None:
    graph = join(small("a", 3, 5), small("b", 5, 2)).graph
    assert graph is not None
    assert [(node.inputs, node.output) for node in graph.nodes] == [
        (("x",), "y"),
        (("y",), "z"),
        (("z",), "second part: y"),
        (("second part: y",), "second part: z"),
    ]
    assert graph.outputs == ("second part: z",)
    assert graph.tensors == ("w", "spare of a", "second part: w", "spare of b")
    assert graph.nodes[2].sources == ("second part: w",)
    assert set(graph.set_aside) == {"spare of a", "spare of b"}
    images = np.ones((1, 3, 4, 4), np.float32)
    assert run_graph(graph, images)[0, :, 0, 0].tolist() == [3.75, 3.75]  # 3 * 0.5 = 1.5, 5 * 1.5 * 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (small("a", 3, 5), small("b", 4, 2)), "a, b: .* the first gives 5 channels, the second takes 4"),
        (lambda: (small("a", 5, 2), small("b", 3, 5)), "a, b: the parts come in the wrong order; name b first"),
        (lambda: (small("a", 3, 5), small("b", 5, 2, format="ONNX")), "a, b: .*: TFLite and ONNX"),
        (lambda: (small("a", 3, 5), small("b", 5, 2, graph=None)), "a, b: no two parts"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make: Callable[[], tuple[Source, Source]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        join(*make())


def test_without_a_runtime_there_is_no_joined_reference() -> None:
    assert join_references(None, lambda values: values) is None
    assert join_references(lambda values: values, None) is None
    chained = join_references(lambda values: values + 1, lambda values: values * 2)
    assert chained is not None
    assert chained(np.array([1.0])).tolist() == [4.0]
