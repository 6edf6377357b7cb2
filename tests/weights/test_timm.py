"""timm's state dicts: the recorded networks give timm's logits, ours go out and come back, other files are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded import random_state, recorded, refusal, relative_error, save

from mobilenets.arch.adapt import folded, with_activation, with_in_channels, with_padding
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import Spec
from mobilenets.errors import UserError
from mobilenets.weights.names import tensor_shapes
from mobilenets.weights.state import read_state
from mobilenets.weights.timm import read, to_timm
from mobilenets.weights.timm.names import timm_names
from mobilenets.weights.timm.networks import NAMES, name_in, published
from mobilenets.weights.timm.preprocessing import default_cfgs, find_cfg

GOLDEN = (
    "mobilenetv1_100",
    "mobilenetv2_050",
    "mobilenetv2_100",
    "mobilenetv2_110d",
    "mobilenetv3_large_100",
    "mobilenetv3_small_050",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_large",
    "mobilenetv4_conv_small",
    "mobilenetv4_hybrid_medium",
    "tf_mobilenetv3_large_100",
    "tf_mobilenetv3_large_minimal_100",
    "tf_mobilenetv3_small_minimal_100",
)
ONLY_NAMED = ("tf_mobilenetv3_large_100",)  # its tensors alone are mobilenetv3_large_100's
LARGE = ("mobilenetv4_conv_large", "mobilenetv4_hybrid_medium")
NOT_TIMMS = ("mobilenet_v1_shallow", "mobilenet_v1_full_conv")


def timm_state(name: str, **changes: Any) -> dict[str, np.ndarray]:
    """A random state dict of a published network under timm's names."""
    spec = published(name).spec
    names = timm_names(spec)
    return {names[own]: values for own, values in random_state(tensor_shapes(spec)).items()} | changes


def test_every_recorded_network_is_tested(shared: Path) -> None:
    assert sorted(path.name.removesuffix(".npz") for path in (shared / "golden/timm").glob("*.npz")) == sorted(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_recorded_logits_by_name(name: str, shared: Path, tmp_path: Path) -> None:
    wanted = recorded(shared, f"timm/{name}")
    found = read(save(wanted.state, tmp_path / f"{name}.pth"))
    assert relative_error(found, wanted) <= 1e-4
    assert sorted(found.used) == sorted(wanted.state)
    assert found.set_aside == {}
    assert found.facts["padding"].startswith("TensorFlow's SAME" if name.startswith("tf_") else "symmetric")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in LARGE else ()) for n in GOLDEN if n not in ONLY_NAMED],
)
def test_recorded_logits_by_the_tensors_alone(name: str, shared: Path, tmp_path: Path) -> None:
    wanted = recorded(shared, f"timm/{name}")
    found = read(save(wanted.state, tmp_path / "weights.safetensors"))
    assert relative_error(found, wanted) <= 1e-4
    assert len(found.used) == len(wanted.state)
    assert f"timm's {name}, by its tensors" in found.facts["architecture"]


def test_padding_that_the_tensors_do_not_say_is_told_and_changes_the_answer(shared: Path, tmp_path: Path) -> None:
    wanted = recorded(shared, "timm/tf_mobilenetv3_large_100")
    path = save(wanted.state, tmp_path / "weights.safetensors")
    guessed, named = read(path), read(path, "tf_mobilenetv3_large_100")
    assert guessed.facts["padding"] == (
        "symmetric (timm's mobilenetv3_large_100; the file does not say, tf_mobilenetv3_large_100 has the same tensors "
        "with TensorFlow's SAME and epsilon 0.001)"
    )
    assert relative_error(guessed, wanted) > 1e-3
    assert relative_error(named, wanted) <= 1e-4


# names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0.1, 0.35, 1.4])
@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in NOT_TIMMS])
def test_the_names_are_a_bijection(architecture: str, width: float) -> None:
    """At every width the names are those of width 1: rows that round to equal channels stay apart."""
    spec = create_spec(architecture, width=width)
    names = timm_names(spec)
    assert list(names) == list(tensor_shapes(spec))
    assert len(set(names.values())) == len(names)
    assert names == timm_names(create_spec(architecture))


@pytest.mark.parametrize("name", GOLDEN)
def test_the_names_are_the_recorded_ones_in_their_order(name: str, shared: Path) -> None:
    names = timm_names(published(name).spec)
    assert list(names.values()) == list(recorded(shared, f"timm/{name}").state)


@pytest.mark.parametrize("multiplier", [0.5, 1.2, 1.4, 2.0])
def test_longer_and_shorter_v2_has_timms_stages(multiplier: float) -> None:
    names = timm_names(create_spec("mobilenet_v2", layer_multiplier=multiplier))
    stages = {own.split(".")[1]: name.split(".")[1] for own, name in names.items() if name.startswith("blocks.")}
    sizes = [list(stages.values()).count(str(stage)) for stage in range(7)]
    assert sizes == [1, *(int(np.ceil(n * multiplier)) for n in (2, 3, 4, 3, 3)), 1]


# out and in again ----------------------------------------------------------------------------------------------------


def round_trip(spec: Spec, path: Path) -> tuple[Spec, dict[str, Any]]:
    """The Spec read back and what `to_timm` said, after the tensors came back bit by bit."""
    state = random_state(tensor_shapes(spec))
    written = to_timm(spec, state, path)
    found = read(path)
    assert found.state.keys() == state.keys()
    for name, values in state.items():
        np.testing.assert_array_equal(found.state[name], values, err_msg=name)
        assert (found.state[name].dtype, found.state[name].shape) == (values.dtype, values.shape)
    file = read_state(path)[0]
    assert list(found.used) == list(file)
    names = timm_names(spec)
    assert {name: array.shape for name, array in file.items()} == {names[own]: v.shape for own, v in state.items()}
    return found.spec, written


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("width", [0.35, 1.0])
@pytest.mark.parametrize(
    "architecture", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v4_conv_small"]
)
def test_a_round_trip_is_exact(architecture: str, width: float, suffix: str, tmp_path: Path) -> None:
    spec = create_spec(architecture, width=width, classes=6)
    back, _ = round_trip(spec, tmp_path / f"weights{suffix}")
    assert back.blocks == spec.blocks
    assert back.head == spec.head


@pytest.mark.slow
@pytest.mark.parametrize("width", [0.25, 0.35, 0.5, 0.75, 1.0, 1.25, 1.4])
@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in NOT_TIMMS])
def test_the_whole_registry_goes_out_and_comes_back(architecture: str, width: float, tmp_path: Path) -> None:
    spec = create_spec(architecture, width=width, classes=6)
    back, _ = round_trip(spec, tmp_path / "weights.safetensors")
    assert back.blocks == spec.blocks
    assert back.head == spec.head


def test_the_ends_come_back(tmp_path: Path) -> None:
    one_channel = with_in_channels(create_spec("mobilenet_v3_small", classes=2), 1)
    back, written = round_trip(one_channel, tmp_path / "a.pth")
    assert (back.in_channels, back.head.classes, len(back.preprocessing.mean)) == (1, 2, 1)
    assert written["facts"]["create"] == "timm.create_model('mobilenetv3_small_100', num_classes=2, in_chans=1)"
    no_classes, _ = round_trip(create_spec("mobilenet_v4_hybrid_medium", classes=0), tmp_path / "b.pth")
    assert no_classes.head.classes == 0
    background, _ = round_trip(create_spec("mobilenet_v2", background=True), tmp_path / "c.pth")
    assert (background.head.classes, background.head.background) == (1000, True)


def test_settings_that_a_file_does_not_hold_stand_in_the_facts(tmp_path: Path) -> None:
    """Padding and epsilon are no tensors: `create` is the Python that sets them."""
    spec = create_spec("mobilenet_v2", profile="authors", classes=9)
    _, written = round_trip(spec, tmp_path / "a.pth")
    assert written["facts"]["create"] == (
        "timm.create_model('mobilenetv2_100', num_classes=9, pad_type='same', bn_eps=0.001)"
    )
    spec = create_spec("mobilenet_v3_large", profile="authors")
    assert "'tf_mobilenetv3_large_100', num_classes=1000)" in round_trip(spec, tmp_path / "b.pth")[1]["facts"]["create"]
    spec = create_spec("mobilenet_v2_060")
    assert round_trip(spec, tmp_path / "c.pth")[1]["facts"]["create"] == (
        "timm.models.efficientnet._gen_mobilenet_v2('mobilenetv2_100', 0.6, num_classes=1000)"
    )


def v2_with(**changes: Any) -> Spec:
    """V2 whose second block is changed."""
    spec = create_spec("mobilenet_v2")
    return replace(spec, blocks=(spec.blocks[0], replace(spec.blocks[1], **changes), *spec.blocks[2:]))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (folded(create_spec("mobilenet_v2")), "its BatchNorm is folded"),
        (v2_with(pad=(0, 1, 0, 1)), "block 1 has pad (0, 1, 0, 1) instead of None in timm's mobilenetv2_100"),
        (v2_with(dilation=2), "block 1 has dilation 2 instead of 1"),
        (v2_with(folded=("depthwise",)), "its BatchNorm is folded"),
        (with_activation(create_spec("mobilenet_v3_small"), "relu"), "block 0 has act relu instead of hard_swish"),
        (create_spec("mobilenet_v1_shallow"), "no MobileNet V1 of timm"),
        (create_spec("mobilenet_v1_full_conv"), "no MobileNet V1 of timm"),
        (create_spec("mobilenet_v1", channels_per_input=2), "no width gives these channels"),
        (create_spec("mobilenet_v2_033"), "no width gives these channels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_network_that_timm_does_not_have_is_refused(spec: Spec, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        to_timm(spec, random_state(tensor_shapes(spec)), tmp_path / "weights.pth")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_going_out_needs_every_tensor_and_a_known_suffix(tmp_path: Path) -> None:
    spec = create_spec("mobilenet_v2_035")
    state = random_state(tensor_shapes(spec))
    with pytest.raises(UserError, match=r"allowed: \.safetensors, \.pth"):
        to_timm(spec, state, tmp_path / "weights.h5")
    del state["head.classifier.bias"]
    with pytest.raises(UserError, match=r"head\.classifier\.bias is missing"):
        to_timm(spec, state, tmp_path / "weights.pth")
    assert list(tmp_path.iterdir()) == []


# folders and files ---------------------------------------------------------------------------------------------------


def hub_folder(folder: Path, weights: str, **config: Any) -> Path:
    """A folder as timm pushes it to the Hugging Face Hub."""
    folder.mkdir()
    save(timm_state(weights), folder / "model.safetensors")
    cfg = {
        "tag": "lamb_in1k",
        "input_size": [3, 256, 256],
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.5, 1.0],
    }
    whole = {"architecture": weights, "num_classes": 1000, "pretrained_cfg": cfg} | config
    (folder / "config.json").write_text(json.dumps(whole))
    return folder


def test_a_folder_of_the_hub_states_network_and_preprocessing(tmp_path: Path) -> None:
    names = [f"name {index}" for index in range(1000)]
    folder = hub_folder(tmp_path / "hub", "tf_mobilenetv3_small_100", label_names=names)
    found = read(folder)
    pre = found.spec.preprocessing
    assert (found.spec.padding, found.spec.norm.eps) == ("same", 1e-3)
    assert (pre.resolution, pre.crop_fraction, pre.interpolation) == (256, 0.95, "bicubic")
    assert (pre.mean, pre.std) == ((127.5, 127.5, 127.5), (63.75, 127.5, 255.0))
    assert found.labels == tuple(names)
    assert found.facts["normalisation"].endswith("stated by the file (config.json)")
    assert read(folder / "model.safetensors").spec == found.spec  # the file in such a folder is the folder


def test_arguments_of_a_folder_are_followed_or_refused(tmp_path: Path) -> None:
    arguments = {"pad_type": "same", "bn_eps": 0.002, "in_chans": 3}
    spec = read(hub_folder(tmp_path / "a", "mobilenetv2_035", model_args=arguments)).spec
    assert (spec.padding, spec.norm.eps) == ("same", 0.002)
    folder = hub_folder(tmp_path / "b", "mobilenetv2_035", model_args={"act_layer": "silu"})
    assert "config.json sets act_layer to 'silu'" in refusal(read, folder)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"architecture": "mobilenetv4_conv_aa_large"}, "it pools where the paper's network strides"),
        ({"architecture": "mobilenetv3_rw"}, "squeeze-and-excite changes from block to block"),
        ({"architecture": "resnet18"}, "unknown timm architecture 'resnet18'; allowed: mobilenetv1_100"),
        ({"architecture": "mobilenetv2_050"}, "not the weights of timm's mobilenetv2_050 (by config.json)"),
        ({"pretrained_cfg": {"input_size": [3, 224, 192]}}, "is no square"),
        ({"pretrained_cfg": {"interpolation": "lanczos"}}, "interpolation 'lanczos' is unknown"),
        ({"pretrained_cfg": {"std": [0, 0, 0]}}, "are no preprocessing"),
        ({"pretrained_cfg": {"mean": "grey"}}, "pretrained_cfg cannot be read"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_a_folder_that_cannot_be_followed_is_refused(config: dict[str, Any], said: str, tmp_path: Path) -> None:
    assert said in refusal(read, hub_folder(tmp_path / "hub", "mobilenetv2_035", **config))


def test_other_configurations_are_refused(tmp_path: Path) -> None:
    folder = hub_folder(tmp_path / "hub", "mobilenetv2_035")
    (folder / "config.json").write_text('{"model_type": "mobilenet_v2", "architectures": ["MobileNetV2Model"]}')
    assert "a model of transformers (mobilenet_v2)" in refusal(read, folder)
    for text in ("{", "[1]"):
        (folder / "config.json").write_text(text)
        assert "config.json" in refusal(read, folder)


@pytest.mark.parametrize(
    ("file", "architecture", "resolution", "crop", "mean"),
    [
        ("mobilenetv2_110d_ra-77090ade.pth", "mobilenetv2_110d", 224, 0.875, 123.675),
        ("mobilenetv3_large_100_1k_miil_78_0-66471c13.pth", "mobilenetv3_large_100", 224, 0.875, 0.0),
        ("mobilenetv4_conv_small.e3600_r256_in1k.pth", "mobilenetv4_conv_small", 256, 0.95, 127.5),
        ("mobilenetv4_conv_small.pth", "mobilenetv4_conv_small", 224, 0.875, 123.675),
        ("tf_mobilenetv3_small_075-da427f52.pth", "tf_mobilenetv3_small_075", 224, 0.875, 127.5),
    ],
)
def test_a_files_name_states_network_and_preprocessing(
    file: str, architecture: str, resolution: int, crop: float, mean: float, tmp_path: Path
) -> None:
    found = read(save(timm_state(architecture), tmp_path / file))
    pre = found.spec.preprocessing
    assert f"timm's {architecture}, by the file's name" in found.facts["architecture"]
    assert (pre.resolution, pre.crop_fraction, pre.mean[0]) == (resolution, crop, mean)
    assert ("does not say which weights" in found.facts["crop"]) == (file == "mobilenetv4_conv_small.pth")


def test_timm_rounds_the_resized_side_down(tmp_path: Path) -> None:
    """224 / 0.95 is 235.8: timm resizes to 235, rounding would give 236."""
    cfg = find_cfg("mobilenetv4_conv_medium.e500_r224_in1k")
    assert cfg is not None
    assert (cfg.input_size, cfg.crop_pct) == (224, 0.95)
    path = save(timm_state("mobilenetv4_conv_medium"), tmp_path / "mobilenetv4_conv_medium.e500_r224_in1k.pth")
    crop = read(path).spec.preprocessing.crop_fraction
    assert int(224 / crop + 0.5) == 235


def test_every_published_network_has_its_defaults() -> None:
    assert list(dict.fromkeys(cfg.architecture for cfg in default_cfgs())) == list(NAMES)
    for cfg in default_cfgs():
        assert find_cfg(f"{cfg.architecture}.{cfg.tag}") == cfg
        if cfg.file and cfg.architecture != "mobilenetv3_large_100":
            assert name_in(cfg.file) == cfg.architecture


def test_a_checkpoint_states_its_network(tmp_path: Path) -> None:
    state = {
        f"module.{name}": torch.from_numpy(values) for name, values in timm_state("tf_mobilenetv3_small_100").items()
    }
    torch.save({"arch": "tf_mobilenetv3_small_100", "state_dict": state, "epoch": 9}, tmp_path / "model_best.pth.tar")
    found = read(tmp_path / "model_best.pth.tar")
    assert found.spec.padding == "same"
    assert set(found.used) == set(state)
    assert found.set_aside == {"arch": "name of the network", "epoch": "epoch of the training"}


def test_absent_step_counters_are_zero(tmp_path: Path) -> None:
    state = {n: v for n, v in timm_state("mobilenetv2_035").items() if not n.endswith("num_batches_tracked")}
    found = read(save(state, tmp_path / "weights.pth"))
    assert found.state["blocks.0.conv.norm.num_batches_tracked"] == 0
    assert len(found.used) == len(state)
    assert found.state.keys() == tensor_shapes(found.spec).keys()


# files that do not fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [False, True])
def test_one_tensor_missing_too_many_or_of_another_shape_is_refused(tmp_path: Path, named: bool) -> None:
    architecture = "mobilenetv3_small_050" if named else None
    state = timm_state("mobilenetv3_small_050")
    key = "blocks.2.1.se.conv_reduce.bias"
    missing = {name: values for name, values in state.items() if name != key}
    assert f"{key} is missing" in refusal(read, save(missing, tmp_path / "a.pth"), architecture)
    extra = state | {"blocks.6.0.conv_extra.weight": np.ones(3, np.float32)}
    assert "blocks.6.0.conv_extra.weight is one too many" in refusal(
        read, save(extra, tmp_path / "b.pth"), architecture
    )
    wrong = state | {key: np.ones(len(state[key]) + 8, np.float32)}
    line = refusal(read, save(wrong, tmp_path / "c.pth"), architecture)
    assert f"{key} has shape" in line
    assert "mobilenetv3_small_050" in line
    whole = state | {key: np.ones(len(state[key]), np.int64)}
    assert f"{key} is int64; allowed is floating point" in refusal(read, save(whole, tmp_path / "d.pth"), architecture)


def test_a_name_that_contradicts_the_tensors_is_refused(tmp_path: Path) -> None:
    line = refusal(read, save(timm_state("mobilenetv2_050"), tmp_path / "mobilenetv2_100.pth"))
    assert "not the weights of timm's mobilenetv2_100 (by the file's name)" in line
    assert "has shape" in line


def test_another_networks_file_is_refused(tmp_path: Path) -> None:
    resnet = {f"layer{stage}.0.conv{n}.weight": np.ones((8, 8, 3, 3), np.float32) for stage in (1, 2) for n in (1, 2)}
    path = save({"conv1.weight": np.ones((64, 3, 7, 7), np.float32), **resnet}, tmp_path / "resnet.pth")
    assert refusal(read, path) == (
        f"{path}: tensors of no MobileNet of timm or torchvision (conv1.weight, layer1.0.conv1.weight, "
        "layer1.0.conv2.weight, ...)"
    )
    own = save(random_state(tensor_shapes(create_spec("mobilenet_v2_035"))), tmp_path / "best.safetensors")
    assert "weights of a run of this program" in refusal(read, own)


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    path = save(timm_state("mobilenetv2_035"), tmp_path / "weights.pth")
    assert "unknown timm architecture 'mobilenetv2_035x'; allowed: mobilenetv1_100" in refusal(
        read, path, "mobilenetv2_035x"
    )
    assert "MobileNet V5 is no network of the papers" in refusal(read, path, "mobilenetv5_300m")


def test_padding_is_no_reason_to_refuse(tmp_path: Path) -> None:
    spec = with_padding(create_spec("mobilenet_v4_conv_small"), "same")
    assert "pad_type='same'" in to_timm(spec, random_state(tensor_shapes(spec)), tmp_path / "a.pth")["facts"]["create"]
