"""Functions from a Spec to another: strides, dilation, activations, profiles."""

from __future__ import annotations

import math

import pytest

from mobilenets.arch import adapt, profiles
from mobilenets.arch.cost import cost
from mobilenets.arch.graph import padded_size
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.errors import UserError


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_output_stride_keeps_the_weights_and_trades_strides_for_dilation(name: str, output_stride: int) -> None:
    spec = create_spec(name, resolution=224)
    dense = adapt.with_output_stride(spec, output_stride)
    assert math.prod(block.stride for block in dense.blocks) == output_stride
    assert dense.taps[-1].stride == output_stride
    assert cost(dense).params == cost(spec).params
    rate = stride = 1
    for before, after in zip(spec.blocks, dense.blocks, strict=True):
        if stride * before.stride > output_stride:
            assert after.stride == 1
            assert after.dilation == (rate if max(before.k_mid, before.k_start) > 1 else 1)
            rate *= before.stride
        else:
            stride *= before.stride
            assert after.stride == before.stride
            assert after.dilation == (rate if max(before.k_mid, before.k_start) > 1 else 1)
    assert rate * output_stride == 32


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("total_stride", [32, 16, 8, 4, 2, 1])
def test_total_stride_takes_the_earliest_strides_away(name: str, total_stride: int) -> None:
    spec = create_spec(name, resolution=32)
    small = adapt.with_total_stride(spec, total_stride)
    assert math.prod(block.stride for block in small.blocks) == total_stride
    strided = [index for index, block in enumerate(spec.blocks) if block.stride == 2]
    kept = [index for index, block in enumerate(small.blocks) if block.stride == 2]
    assert kept == strided[len(strided) - len(kept) :]
    assert all(block.dilation == 1 for block in small.blocks)
    assert cost(small).ops[-2 if not spec.head.c_hidden else -3].name == "head.pool"
    last_map = [op for op in cost(small).ops if op.block == len(spec.blocks) - 1][-1]
    assert last_map.shape[1:] == (32 // total_stride,) * 2
    assert cost(small).params == cost(spec).params


def test_activation_is_changed_everywhere_but_where_there_is_none() -> None:
    spec = adapt.with_activation(create_spec("mobilenet_v4_hybrid_large"), "leaky_relu")
    assert {(b.kind == "attention", b.act) for b in spec.blocks} == {(False, "leaky_relu"), (True, "identity")}
    assert spec.head.act == "leaky_relu"
    assert all(b.linear for b in spec.blocks if b.kind == "universal")
    assert adapt.with_activation(create_spec("mobilenet_v2"), "relu").head.act == "identity"


def test_squeeze_excites_gate_activation_and_rounding() -> None:
    spec = adapt.with_squeeze_excite(create_spec("mobilenet_v3_small"), gate="sigmoid", act="relu6")
    assert (spec.se_gate, spec.se_act) == ("sigmoid", "relu6")
    with pytest.raises(UserError, match="unknown squeeze-and-excite gate 'tanh'; allowed: hard_sigmoid, sigmoid"):
        adapt.with_squeeze_excite(spec, gate="tanh")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="unknown squeeze-and-excite activation 'swish'; allowed: relu"):
        adapt.with_squeeze_excite(spec, act="swish")  # type: ignore[arg-type]
    squeezed = [block.c_se for block in create_spec("mobilenet_v3_large", se_divisor=1).blocks if block.c_se]
    assert squeezed == [72 // 4, 120 // 4, 120 // 4, 480 // 4, 672 // 4, 672 // 4, 960 // 4, 960 // 4]
    rounded = [block.c_se for block in create_spec("mobilenet_v3_large").blocks if block.c_se]
    assert rounded == [24, 32, 32, 120, 168, 168, 240, 240]


def test_resolution_multiplier_is_relative_to_224() -> None:
    """V1 paper, section 3.4: 224, 192, 160 and 128 pixels."""
    found = [create_spec("mobilenet_v1", resolution_multiplier=side / 224).resolution for side in (224, 192, 160, 128)]
    assert found == [224, 192, 160, 128]


def test_added_input_channels_repeat_mean_and_std() -> None:
    spec = create_spec("mobilenet_v1", in_channels=5)
    assert spec.preprocessing.mean == (123.675, 116.28, 103.53, 123.675, 116.28)
    assert create_spec("mobilenet_v1", in_channels=1).preprocessing.std == (58.395,)


# (epsilon, momentum, dropout, mean) of the `authors` profile; files and lines are cited in profiles.py
AUTHORS = {
    "mobilenet_v1": (1e-3, 3e-4, 0.001, 127.5),
    "mobilenet_v2": (1e-3, 3e-3, 0.2, 127.5),
    "mobilenet_v3_small": (1e-3, 3e-3, 0.2, 127.5),
    "mobilenet_v3_large_minimal": (1e-3, 3e-3, 0.2, 127.5),
    "mobilenet_v4_conv_small": (1e-6, 5e-2, 0.3, 123.675),
    "mobilenet_v4_conv_medium": (1e-3, 3e-3, 0.2, 123.675),
    "mobilenet_v4_conv_large": (1e-3, 3e-3, 0.2, 123.675),
    "mobilenet_v4_hybrid_medium": (1e-3, 3e-3, 0.2, 123.675),
    "mobilenet_v4_hybrid_large": (1e-3, 3e-3, 0.2, 123.675),
}


@pytest.mark.parametrize("name", AUTHORS)
def test_profiles(name: str) -> None:
    authors, default = create_spec(name, profile="authors"), create_spec(name)
    eps, momentum, dropout, mean = AUTHORS[name]
    assert (authors.norm.eps, authors.norm.momentum, authors.head.dropout) == (eps, momentum, dropout)
    assert authors.preprocessing.mean[0] == mean
    assert authors.padding == "same"
    assert authors.init == ("variance_scaling" if "_v4_" in name else "truncated_normal")
    assert (default.norm.eps, default.norm.momentum) == (1e-5, 0.1)
    assert (default.padding, default.init) == ("symmetric", "kaiming_fan_out")
    assert default.preprocessing.mean == profiles.IMAGENET_MEAN
    assert authors.blocks == default.blocks
    assert (authors.profile, default.profile) == ("authors", "default")
    assert cost(authors).macs == cost(default).macs


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_padded_size_counts_the_windows_that_fit(kernel: int, stride: int, dilation: int) -> None:
    reach = (kernel - 1) * dilation + 1
    for size in range(reach, 40):
        for pad in ((0, 0), (0, 1), (2, 1)):
            windows = sum(1 for start in range(0, size + sum(pad) - reach + 1, stride))
            assert padded_size(size, kernel, stride, dilation, "same", pad) == windows
        side = (kernel - 1) * dilation // 2
        windows = sum(1 for start in range(0, size + 2 * side - reach + 1, stride))
        assert padded_size(size, kernel, stride, dilation, "symmetric", None) == windows
        assert padded_size(size, kernel, stride, dilation, "same", None) == math.ceil(size / stride)


def test_branches_are_counted_as_what_they_fold_into() -> None:
    plain = create_spec("mobilenet_v4_hybrid_medium")
    spec = create_spec("mobilenet_v4_hybrid_medium", reparam=4)
    assert (plain.reparam, spec.reparam) == (0, 4)
    assert cost(spec) == cost(plain)
    assert adapt.with_reparam(spec, 0) == adapt.with_reparam(spec, False) == plain
    assert adapt.with_reparam(plain) == create_spec("mobilenet_v4_hybrid_medium", reparam=True)
    assert adapt.with_reparam(plain).reparam == 1
    assert adapt.folded(spec) == adapt.folded(plain)


@pytest.mark.parametrize("branches", [-1, 1.5, "2"])
def test_a_number_of_branches_that_cannot_be_is_one_line(branches: object) -> None:
    with pytest.raises(UserError, match=r"^reparam .* allowed is a whole number, 0 or more \(0: the plain network\)$"):
        create_spec("mobilenet_v1", reparam=branches)  # type: ignore[arg-type]


def test_branches_need_batch_norm() -> None:
    with pytest.raises(UserError, match="mobilenet_v1: reparam 2 needs BatchNorm in each branch, and it is folded in"):
        adapt.with_reparam(adapt.folded(create_spec("mobilenet_v1")), 2)
