"""Cost against slow plain-loop references and against numbers worked out by hand."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mobilenets.arch import cost as formulas
from mobilenets.arch.adapt import folded, with_in_channels
from mobilenets.arch.cost import Cost, cost, live_elements
from mobilenets.arch.graph import Op, graph
from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.arch.spec import Block, Head, Preprocessing, Spec
from mobilenets.errors import UserError

SMALL = Preprocessing(resolution=8)


def tiny(*blocks: Block, classes: int = 2) -> Spec:
    """A network of the given blocks on 8x8 images."""
    head = Head(c_in=blocks[-1].c_out, classes=classes)
    return Spec(name="tiny", generation=1, blocks=blocks, head=head, preprocessing=SMALL)


STEM = Block(kind="conv", c_in=3, c_mid=8, c_out=8, k_mid=3, stride=2)


# The papers' formulas ----------------------------------------------------------------------------------------------


def loop_conv_macs(kernel: int, c_in: int, c_out: int, size: int, *, depthwise: bool = False) -> int:
    """One multiply-add at a time, as equations 1 and 3 of the V1 paper sum them."""
    macs = 0
    for _ in range(size * size):
        for _ in range(kernel * kernel):
            for _ in range(c_in):
                macs += 1 if depthwise else c_out
    return macs


@pytest.mark.parametrize(("kernel", "c_in", "c_out", "size"), [(3, 2, 5, 4), (1, 3, 4, 2), (5, 4, 1, 3)])
def test_formulas_equal_loops(kernel: int, c_in: int, c_out: int, size: int) -> None:
    standard = loop_conv_macs(kernel, c_in, c_out, size)
    depthwise = loop_conv_macs(kernel, c_in, c_in, size, depthwise=True)
    pointwise = loop_conv_macs(1, c_in, c_out, size)
    assert formulas.standard_conv_macs(kernel, c_in, c_out, size) == standard
    assert formulas.depthwise_conv_macs(kernel, c_in, size) == depthwise
    assert formulas.separable_conv_macs(kernel, c_in, c_out, size) == depthwise + pointwise
    assert formulas.separable_ratio(kernel, c_out) == pytest.approx((depthwise + pointwise) / standard)


def test_ratio_is_between_a_ninth_and_an_eighth_for_wide_3x3_layers() -> None:
    """V1 paper, section 3.1: 8 to 9 times less computation than standard convolutions."""
    assert all(1 / 9 < formulas.separable_ratio(3, c_out) < 1 / 8 for c_out in (128, 256, 512, 1024))


def test_alpha_and_rho_scale_by_their_squares() -> None:
    """Equations 6 and 7: the pointwise part by alpha^2, both by rho^2."""
    whole = formulas.separable_conv_macs(3, 512, 512, 14)
    assert formulas.separable_conv_macs(3, 512, 512, 14, rho=0.5) == pytest.approx(whole / 4)
    half = formulas.separable_conv_macs(3, 512, 512, 14, alpha=0.5)
    assert half == pytest.approx((9 * 512 / 2 + 512 * 512 / 4) * 14 * 14)


def test_formulas_equal_the_networks_own_layers() -> None:
    ops = {op.name: op for op in cost(create_spec("mobilenet_v1")).ops}
    pair = ops["blocks.7.depthwise"].macs + ops["blocks.7.pointwise"].macs
    assert pair == formulas.separable_conv_macs(3, 512, 512, 14)
    bottleneck = [op for op in cost(create_spec("mobilenet_v2")).ops if op.name.startswith("blocks.5.")]
    assert sum(op.macs for op in bottleneck) == formulas.inverted_residual_macs(3, 32, 32, 6, 28, 28)
    full = {op.name: op for op in cost(create_spec("mobilenet_v1_full_conv")).ops}
    assert full["blocks.7.conv"].macs == formulas.standard_conv_macs(3, 512, 512, 14)


# Peak activation memory ----------------------------------------------------------------------------------------------


def loop_live_elements(ops: list[Op], input_elements: int) -> list[int]:
    """For each operation, every tensor made so far is alive when it is the operation's output or is still read."""
    sizes = {"input": input_elements} | {op.name: op.shape[0] * op.shape[1] * op.shape[2] for op in ops}
    alive = []
    for now in range(len(ops)):
        made = ["input"] + [op.name for op in ops[: now + 1]]
        needed = {name for later in ops[now:] for name in later.inputs} | {ops[now].name}
        alive.append(sum(sizes[name] for name in made if name in needed))
    return alive


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("resolution", [224, 97])
def test_liveness_equals_a_plain_loop(name: str, resolution: int) -> None:
    spec = create_spec(name, resolution=resolution)
    ops = graph(spec)
    alive = live_elements(ops, 3 * resolution**2)
    assert alive == loop_live_elements(ops, 3 * resolution**2)
    whole = cost(spec)
    assert whole.activation_bytes == 4 * max(alive) == 4 * whole.activation_bytes_int8
    assert whole.layers[alive.index(max(alive))].name == whole.peak_layer
    assert [layer.alive_bytes for layer in whole.layers] == [4 * elements for elements in alive]


def test_peak_of_v1_is_its_first_pointwise_layer() -> None:
    whole = cost(create_spec("mobilenet_v1"))
    assert whole.peak_layer == "blocks.1.pointwise"
    assert whole.activation_bytes == 4 * (32 + 64) * 112 * 112


def test_a_residual_keeps_the_blocks_input_alive() -> None:
    row = Block(kind="inverted", c_in=8, c_mid=16, c_out=8, k_mid=3, linear=True)
    plain, residual = cost(tiny(STEM, row)), cost(tiny(STEM, replace(row, residual=True)))
    alive = {layer.name: layer.alive_bytes // 4 // 16 for layer in residual.layers}  # per pixel of the 4x4 map
    assert alive["blocks.1.expand"] == 8 + 16
    assert alive["blocks.1.depthwise"] == 8 + 16 + 16
    assert alive["blocks.1.project"] == 8 + 16 + 8
    assert alive["blocks.1.add"] == 8 + 8 + 8
    without = {layer.name: layer.alive_bytes // 4 // 16 for layer in plain.layers}
    assert without["blocks.1.depthwise"] == 16 + 16
    assert without["blocks.1.project"] == 16 + 8


def test_squeeze_excite_keeps_what_it_scales_alive() -> None:
    row = Block(kind="inverted", c_in=8, c_mid=16, c_out=8, k_mid=3, linear=True, c_se=4)
    alive = {layer.name: layer.alive_bytes // 4 for layer in cost(tiny(STEM, row)).layers}
    pixels = 4 * 4
    assert alive["blocks.1.se.pool"] == 16 * pixels + 16
    assert alive["blocks.1.se.reduce"] == 16 * pixels + 16 + 4
    assert alive["blocks.1.se.expand"] == 16 * pixels + 4 + 16
    assert alive["blocks.1.se.scale"] == 16 * pixels + 16 + 16 * pixels


def test_attention_counts_its_two_products_and_keeps_query_key_and_value() -> None:
    row = Block(kind="attention", c_in=8, c_mid=12, c_out=8, heads=3, key_dim=4, k_kv=3, kv_stride=2, residual=True)
    whole = cost(tiny(STEM, row))
    ops = {op.name.removeprefix("blocks.1."): op for op in whole.ops}
    assert ops["scores"].shape == (3, 16, 4)  # 4x4 positions, 2x2 keys
    assert ops["scores"].macs_attention == ops["mix"].macs_attention == 3 * 16 * 4 * 4
    assert whole.macs_attention == 2 * 3 * 16 * 4 * 4
    assert ops["query"].macs == 8 * 12 * 16
    assert ops["key"].macs == ops["value"].macs == 8 * 4 * 4
    assert ops["key_down"].macs == 9 * 8 * 4
    alive = {layer.name.removeprefix("blocks.1."): layer.alive_bytes // 4 for layer in whole.layers}
    residual, query, key, value, scores = 8 * 16, 12 * 16, 4 * 4, 4 * 4, 3 * 16 * 4
    assert alive["scores"] == residual + query + key + value + scores
    assert alive["mix"] == residual + scores + value + 12 * 16


# Parameters and bytes ------------------------------------------------------------------------------------------------


def test_bytes_by_hand() -> None:
    whole = cost(tiny(STEM))  # 3x3x3x8 and BatchNorm, 8 x 2 and bias
    assert whole.params == 216 + 16 + 16 + 2
    assert whole.buffers == 16
    assert whole.bytes_float32 == 4 * (whole.params + 16)
    assert whole.bytes_float16 == 2 * (216 + 8 + 16 + 2)  # BatchNorm folded into a bias per channel
    assert whole.bytes_int8 == (216 + 16) + 4 * (8 + 2)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_folding_makes_the_float16_and_int8_bytes(name: str) -> None:
    """The folded network's own parameters are what the unfolded one's float16 and int8 bytes count."""
    spec = create_spec(name)
    whole, after = cost(spec), cost(folded(spec))
    assert whole.bytes_float16 == after.bytes_float16 == 2 * after.params
    assert whole.bytes_int8 == after.bytes_int8
    assert after.macs == whole.macs
    attention = sum(op.buffers for op in whole.ops if op.kind == "norm")
    assert after.buffers == attention


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_layers_sum_to_the_whole(name: str) -> None:
    whole = cost(create_spec(name))
    for quantity in ("macs", "macs_attention", "params", "bytes_float32", "bytes_float16", "bytes_int8"):
        assert sum(getattr(layer, quantity) for layer in whole.layers) == getattr(whole, quantity)
    document = whole.to_json()
    assert document["resolution"] == whole.input[1]
    assert {"macs", "params", "activation_bytes", "layers"} <= document.keys()
    assert {"name", "kind", "macs", "params", "out"} <= document["layers"][0].keys()


def test_depth_is_the_longest_way_through() -> None:
    """V1 has 28 layers (section 3.2), the shallow one 10 fewer (table 5); side branches count where they are longer."""
    for name, depth in (("mobilenet_v1", 28), ("mobilenet_v1_shallow", 18), ("mobilenet_v2", 53)):
        whole = cost(create_spec(name))
        assert (whole.depth, whole.weight_layers) == (depth, depth)
    block = Block(kind="inverted", c_in=8, c_mid=16, c_out=8, k_mid=3, residual=True, c_se=4)
    assert cost(tiny(STEM, block)).depth - cost(tiny(STEM)).depth == 5
    attention = Block(
        kind="attention", c_in=8, c_mid=8, c_out=8, heads=2, key_dim=4, k_kv=3, kv_stride=2, residual=True
    )
    wide = cost(tiny(STEM, attention))
    assert wide.depth - cost(tiny(STEM)).depth == 3  # down, key, output
    assert wide.weight_layers - cost(tiny(STEM)).weight_layers == 6


def test_one_folded_convolution_has_a_bias_and_no_statistics() -> None:
    spec = tiny(STEM)
    part = replace(spec, blocks=(replace(STEM, folded=("conv",)),))
    before, after = cost(spec), cost(part)
    assert before.params - after.params == 8
    assert (before.buffers, after.buffers) == (16, 0)
    assert before.bytes_int8 == after.bytes_int8


def test_resolution_classes_and_channels() -> None:
    spec = create_spec("mobilenet_v2")
    assert cost(spec, resolution=96).macs == cost(create_spec("mobilenet_v2", resolution=96)).macs
    assert cost(spec, size=(224, 112)).input == (3, 224, 112)
    assert cost(spec, size=(224, 112)).macs < cost(spec).macs
    assert cost(create_spec("mobilenet_v2", classes=10)).params == cost(spec).params - 990 * 1281
    assert cost(create_spec("mobilenet_v2", classes=1000, background=True)).params == cost(spec).params + 1281
    assert cost(create_spec("mobilenet_v2", classes=0)).params == cost(spec).params - 1000 * 1281
    assert cost(with_in_channels(spec, 4)).params == cost(spec).params + 9 * 32
    assert cost(with_in_channels(spec, 1)).input == (1, 224, 224)


def test_an_input_smaller_than_a_kernel_is_refused() -> None:
    spec = tiny(replace(STEM, k_mid=7, pad=(0, 0, 0, 0)))
    with pytest.raises(UserError, match="6 pixels is too small for a 7x7 convolution"):
        cost(spec, size=(8, 6))


# Speed ---------------------------------------------------------------------------------------------------------------


def test_a_thousand_specs_cost_under_a_second() -> None:
    names = list(ARCHITECTURES)
    specs = [create_spec(names[index % len(names)], width=0.25 + 1.5 * index / 1000) for index in range(1000)]
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        results: list[Cost] = [cost(spec) for spec in specs]
        best = min(best, time.process_time() - start)
        assert len(results) == 1000
        if best < 1:
            break
    assert best < 1, f"1000 Specs took {best:.2f} s; python benchmarks/cost_speed.py shows which"


def test_nothing_in_arch_imports_torch_or_numpy() -> None:
    modules = ", ".join(f"mobilenets.arch.{path.stem}" for path in Path(formulas.__file__).parent.glob("[a-z]*.py"))
    check = f"import sys, {modules}; sys.exit(bool({{'torch', 'numpy', 'cv2'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=60).returncode == 0
