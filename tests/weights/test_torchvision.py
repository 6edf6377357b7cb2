"""torchvision's state dicts: recorded logits, its own rule at widths, backbones of its dense networks, out and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from recorded import random_state, recorded, refusal, relative_error, save

from mobilenets.arch.adapt import folded, with_in_channels, with_squeeze_excite
from mobilenets.arch.registry import create_spec
from mobilenets.arch.spec import Spec
from mobilenets.errors import UserError
from mobilenets.weights.names import tensor_shapes
from mobilenets.weights.proof import network_of
from mobilenets.weights.torchvision import matches, read, to_torchvision
from mobilenets.weights.torchvision.networks import NAMES, network, networks, torchvision_names

CLASSIFIERS = ("mobilenet_v2", "mobilenet_v3_large")
DENSE = (  # recorded name, what it is, tensors of the backbone, tensors set aside
    ("deeplabv3_mobilenet_v3_large", "a segmentation network", 308, 44),
    ("fasterrcnn_mobilenet_v3_large_320_fpn", "a detector", 308, 22),
    ("lraspp_mobilenet_v3_large", "a segmentation network", 308, 11),
    ("ssdlite320_mobilenet_v3_large", "a detector", 308, 168),
)


def test_every_recorded_network_is_tested(shared: Path) -> None:
    found = sorted(path.name.removesuffix(".npz") for path in (shared / "golden/torchvision").glob("*.npz"))
    assert found == sorted([*CLASSIFIERS, *(name for name, *_ in DENSE)])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_recorded_logits(name: str, suffix: str, shared: Path, tmp_path: Path) -> None:
    wanted = recorded(shared, f"torchvision/{name}")
    path = save(wanted.state, tmp_path / f"weights{suffix}")
    assert matches(path)
    found = read(path)
    assert relative_error(found, wanted) <= 1e-4
    assert sorted(found.used) == sorted(wanted.state)
    assert found.set_aside == {}
    assert found.spec.norm.eps == (1e-5 if name == "mobilenet_v2" else 1e-3)
    assert found.facts["padding"] == f"symmetric (torchvision's {name})"
    assert read(path, name).spec == found.spec


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_names_are_the_recorded_ones_in_their_order(name: str, shared: Path) -> None:
    names = torchvision_names(network(name).spec)
    assert list(names.values()) == list(recorded(shared, f"torchvision/{name}").state)


@pytest.mark.parametrize(
    ("name", "width", "reduced_tail", "parameters"),
    [  # counted in torchvision 0.28.0
        ("mobilenet_v2", 1.0, False, 3_504_872),
        ("mobilenet_v2", 0.35, False, 1_677_128),
        ("mobilenet_v3_small", 1.0, False, 2_542_856),
        ("mobilenet_v3_small", 0.75, False, 1_653_920),
        ("mobilenet_v3_large", 1.0, False, 5_483_032),
        ("mobilenet_v3_large", 0.5, False, 1_734_576),
        ("mobilenet_v3_large", 1.4, True, 4_653_984),
    ],
)
def test_parameters_are_torchvisions(name: str, width: float, reduced_tail: bool, parameters: int) -> None:
    shapes = tensor_shapes(network(name, width, reduced_tail=reduced_tail).spec)
    counted = {key: shape for key, shape in shapes.items() if not key.endswith(("mean", "var", "tracked"))}
    assert sum(int(np.prod(shape)) for shape in counted.values()) == parameters


def test_names_are_bijections_and_tensors_differ_between_networks() -> None:
    """No two networks that torchvision makes have the same tensors but for a Spec that is the same."""
    seen: dict[str, Spec] = {}
    for each in networks():
        names = torchvision_names(each.spec)
        assert len(set(names.values())) == len(names)
        key = str([(names[own], shape) for own, shape in tensor_shapes(each.spec).items()])
        assert seen.setdefault(key, each.spec).blocks == each.spec.blocks
    assert len(seen) > 100


@pytest.mark.parametrize("width", [0.35, 0.75, 1.0, 1.25])
@pytest.mark.parametrize(
    ("name", "reduced_tail"), [*((name, False) for name in NAMES), *((n, True) for n in NAMES[1:])]
)
def test_a_round_trip_is_exact(name: str, width: float, reduced_tail: bool, tmp_path: Path) -> None:
    spec = network(name, width, reduced_tail=reduced_tail).spec
    spec = replace(spec, head=replace(spec.head, classes=5))
    state = random_state(tensor_shapes(spec))
    path = tmp_path / ("weights.safetensors" if width == 1 else "weights.pth")
    to_torchvision(spec, state, path)
    found = read(path)
    assert (found.spec.blocks, found.spec.head) == (spec.blocks, spec.head)
    assert found.state.keys() == state.keys()
    for key, values in state.items():
        np.testing.assert_array_equal(found.state[key], values, err_msg=key)


def test_what_went_out_has_torchvisions_shapes(shared: Path, tmp_path: Path) -> None:
    """The layer after pooling is a 1x1 convolution here and linear there."""
    wanted = recorded(shared, "torchvision/mobilenet_v3_large")
    found = read(save(wanted.state, tmp_path / "weights.pth"))
    written = to_torchvision(found.spec, found.state, tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert list(back) == list(wanted.state)
    for name, values in wanted.state.items():
        np.testing.assert_array_equal(back[name].numpy(), values, err_msg=name)
        assert back[name].shape == values.shape
    assert written["facts"]["create"] == "torchvision.models.mobilenet_v3_large(num_classes=1000)"


def test_the_epsilon_of_a_network_of_ours_stands_in_the_facts(tmp_path: Path) -> None:
    spec = create_spec("mobilenet_v3_small", classes=4)
    written = to_torchvision(spec, random_state(tensor_shapes(spec)), tmp_path / "weights.pth")
    assert written["facts"]["create"] == (
        "torchvision.models.mobilenet_v3_small(num_classes=4, "
        "norm_layer=functools.partial(torch.nn.BatchNorm2d, eps=1e-05, momentum=0.1))"
    )


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (create_spec("mobilenet_v1"), "torchvision has MobileNet V2 and V3 alone"),
        (create_spec("mobilenet_v4_conv_small"), "torchvision has MobileNet V2 and V3 alone"),
        (folded(create_spec("mobilenet_v2")), "its BatchNorm is folded"),
        (create_spec("mobilenet_v2", padding="same"), "it pads symmetrically alone"),
        (with_in_channels(create_spec("mobilenet_v2"), 1), "it takes 3 channels, this one 1"),
        (create_spec("mobilenet_v2", classes=0), "it always has a classifier"),
        (create_spec("mobilenet_v3_small_075"), "no width gives these channels by its rule"),
        (create_spec("mobilenet_v3_small", activation="relu"), "block 0 has act relu instead of hard_swish"),
        (with_squeeze_excite(create_spec("mobilenet_v3_small"), gate="sigmoid"), "its squeeze-and-excite has relu and"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_a_network_that_torchvision_does_not_have_is_refused(spec: Spec, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        to_torchvision(spec, random_state(tensor_shapes(spec)), tmp_path / "weights.pth")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "fraction", "told"),
    [
        ("mobilenet_v2-b0353104.pth", 224 / 256, "torchvision's for mobilenet_v2 IMAGENET1K_V1"),
        ("mobilenet_v2-7ebf99e0.pth", 224 / 232, "torchvision's for mobilenet_v2 IMAGENET1K_V2"),
        ("best.pth", 224 / 256, "the file does not say which weights"),
    ],
)
def test_preprocessing_is_that_of_the_published_file(file: str, fraction: float, told: str, tmp_path: Path) -> None:
    spec = network("mobilenet_v2").spec
    names = torchvision_names(spec)
    state = {names[own]: values for own, values in random_state(tensor_shapes(spec)).items()}
    found = read(save(state, tmp_path / file))
    pre = found.spec.preprocessing
    assert (pre.resolution, pre.crop_fraction, pre.interpolation) == (224, fraction, "bilinear")
    assert pre.mean == (123.675, 116.28, 103.53)
    assert told in found.facts["crop"]


# dense networks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "task", "used", "aside"), DENSE)
def test_a_dense_network_is_named_or_gives_its_backbone(
    name: str, task: str, used: int, aside: int, shared: Path, tmp_path: Path
) -> None:
    state = recorded(shared, f"torchvision/{name}").state
    path = save(state, tmp_path / "weights.pth")
    assert matches(path)
    said = name.replace("_320_fpn", "_fpn")  # both sizes have the same tensors
    assert f"torchvision's {said}, {task}: that task is not there yet" in refusal(read, path)
    found = read(path, backbone=True)
    assert (len(found.used), len(found.set_aside)) == (used, aside)
    assert {*found.used, *found.set_aside} == set(state)
    assert set(found.set_aside.values()) == {"not part of the backbone"}
    assert found.spec.norm.eps == (1e-5 if name.startswith("fasterrcnn") else 1e-3)
    stride = 16 if task == "a segmentation network" else 32
    assert found.spec.taps[-1].stride == stride
    with torch.inference_mode():
        last = network_of(found).trunk(torch.zeros(1, 3, 64, 64))
    assert last.shape == (1, 480 if name.startswith("ssd") else 960, 64 // stride, 64 // stride)


def test_the_dilated_backbone_gives_the_recorded_segmentation(shared: Path, tmp_path: Path) -> None:
    """LR-ASPP's head, written out here, on our backbone's features: the recorded map comes out."""
    wanted = recorded(shared, "torchvision/lraspp_mobilenet_v3_large")
    found = read(save(wanted.state, tmp_path / "weights.pth"), backbone=True)
    head = {name: torch.from_numpy(values) for name, values in wanted.state.items() if name.startswith("classifier.")}
    functional = torch.nn.functional
    network = network_of(found)
    with torch.inference_mode():
        picture = torch.from_numpy(wanted.picture)
        low, x = picture, picture
        for index, block in enumerate(network.blocks):
            x = block(x)
            low = x if index == 4 else low  # the first block with 40 channels, stride 8
        mean, var, weight, bias = (
            head[f"classifier.cbr.1.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        conv = functional.conv2d(x, head["classifier.cbr.0.weight"])
        scale = torch.sigmoid(functional.conv2d(x.mean((2, 3), keepdim=True), head["classifier.scale.1.weight"]))
        high = functional.relu(functional.batch_norm(conv, mean, var, weight, bias)) * scale
        high = functional.interpolate(high, size=low.shape[-2:], mode="bilinear", align_corners=False)
        out = functional.conv2d(
            low, head["classifier.low_classifier.weight"], head["classifier.low_classifier.bias"]
        ) + functional.conv2d(high, head["classifier.high_classifier.weight"], head["classifier.high_classifier.bias"])
        out = functional.interpolate(out, size=picture.shape[-2:], mode="bilinear", align_corners=False)
    recorded_map = np.load(shared / "golden/torchvision/lraspp_mobilenet_v3_large.npz")["out"]
    got = out[:, :, ::4, ::4].numpy()
    assert np.abs(got - recorded_map).max() <= 1e-4 * np.abs(recorded_map).max()


def test_the_backbone_of_a_classifier_leaves_its_classifier_aside(shared: Path, tmp_path: Path) -> None:
    state = recorded(shared, "torchvision/mobilenet_v3_large").state
    found = read(save(state, tmp_path / "weights.pth"), backbone=True)
    assert sorted(found.set_aside) == [
        "classifier.0.bias",
        "classifier.0.weight",
        "classifier.3.bias",
        "classifier.3.weight",
    ]
    assert found.spec.head.classes == found.spec.head.c_hidden == 0


# files that do not fit -----------------------------------------------------------------------------------------------


def test_one_tensor_missing_too_many_or_of_another_shape_is_refused(shared: Path, tmp_path: Path) -> None:
    state = recorded(shared, "torchvision/mobilenet_v2").state
    key = "features.7.conv.2.weight"
    missing = {name: values for name, values in state.items() if name != key}
    line = refusal(read, save(missing, tmp_path / "a.pth"))
    assert f"nearest is mobilenet_v2, but {key} is missing" in line
    extra = state | {"features.19.0.weight": np.ones(3, np.float32)}
    assert "features.19.0.weight is one too many" in refusal(read, save(extra, tmp_path / "b.pth"))
    wrong = state | {key: np.ones((64, 191, 1, 1), np.float32)}
    assert f"{key} has shape (64, 191, 1, 1)" in refusal(read, save(wrong, tmp_path / "c.pth"))


def test_an_unknown_architecture_is_refused(shared: Path, tmp_path: Path) -> None:
    path = save(recorded(shared, "torchvision/mobilenet_v2").state, tmp_path / "weights.pth")
    assert "unknown torchvision architecture 'mobilenetv2_100'; allowed: mobilenet_v2" in refusal(
        read, path, "mobilenetv2_100"
    )


def test_other_files_do_not_match(tmp_path: Path) -> None:
    resnet = {
        "backbone.body.conv1.weight": np.ones(3, np.float32),
        "rpn.head.cls_logits.weight": np.ones(3, np.float32),
    }
    assert not matches(save(resnet, tmp_path / "a.pth"))
    assert not matches(save({"conv_stem.weight": np.ones(3, np.float32)}, tmp_path / "b.pth"))
