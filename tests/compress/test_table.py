"""The table of a quantised network: written and read again, it is the same network to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from roundable import calibrated, pictures, shipped

from mobilenets.compress.bias import restore_statistics_
from mobilenets.compress.equalise import equalise_
from mobilenets.compress.rounding import adapt_rounding_
from mobilenets.compress.simulation import Simulation
from mobilenets.compress.table import Table, load_table, save_table, simulation_of, table_of
from mobilenets.deploy.wrap import Shipped
from mobilenets.errors import UserError
from mobilenets.training.checkpoint import save_tensors

IMAGES = pictures(24)


def small() -> Shipped:
    return shipped("mobilenet_v3_small", blocks=2, width=0.35)


def read_again(simulation: Simulation, module: Shipped, folder: Path) -> Simulation:
    save_table(folder / "int8.safetensors", table_of(simulation))
    return simulation_of(load_table(folder / "int8.safetensors"), module)


def assert_same(one: Simulation, two: Simulation) -> None:
    assert one.floats == two.floats
    assert one.int8_macs == two.int8_macs
    assert np.array_equal(one.logits(IMAGES), two.logits(IMAGES))
    first, second = one.converted().state_dict(), two.converted().state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.dtype == second[name].dtype
        assert torch.equal(value, second[name]), name


def plain(simulation: Simulation) -> None:
    """No repair."""


def in_float(simulation: Simulation) -> None:
    simulation.leave_in_float([list(simulation.layers)[2], "head.classifier"])


def equalised(simulation: Simulation) -> None:
    equalise_(simulation, IMAGES)
    simulation.watch(IMAGES, "mse")


def adapted(simulation: Simulation) -> None:
    adapt_rounding_(simulation, IMAGES)


def restored(simulation: Simulation) -> None:
    restore_statistics_(simulation, IMAGES)


@pytest.mark.parametrize(
    ("repair", "per_channel"),
    [*((each, True) for each in (plain, in_float, equalised, adapted, restored)), (plain, False), (in_float, False)],
)
def test_a_table_that_was_written_and_read_is_the_same_network(
    repair: Callable[[Simulation], None], per_channel: bool, tmp_path: Path
) -> None:
    module = small()
    simulation = calibrated(module, IMAGES, per_channel=per_channel)
    repair(simulation)
    assert_same(simulation, read_again(simulation, module, tmp_path))


def test_a_weight_between_two_integers_rounds_the_same_way_again(tmp_path: Path) -> None:
    module = small()
    simulation = calibrated(module, IMAGES)
    layer = simulation.layers["blocks.0.conv"]
    weight, scale = simulation.weight(layer), simulation.points["blocks.0.conv/weight"].scale
    halves = (torch.arange(weight[0].numel()) + 0.5).view(weight[0].shape)
    weight.copy_(halves * scale.view(-1, 1, 1, 1))  # none but such
    assert_same(simulation, read_again(simulation, module, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v4_conv_small", "mobilenet_v4_hybrid_medium"])
def test_whole_networks_are_the_same_too(name: str, per_channel: bool, tmp_path: Path) -> None:
    module = shipped(name)
    simulation = calibrated(module, IMAGES, per_channel=per_channel)
    assert_same(simulation, read_again(simulation, module, tmp_path))


def test_the_table_holds_int8_where_it_rounds_and_float_where_it_does_not() -> None:
    simulation = calibrated(small(), IMAGES)
    in_float(simulation)
    table = table_of(simulation)
    for layer in simulation.layers.values():
        weight = table.tensors[f"{layer.name}/weight"]
        assert weight.dtype == (torch.int8 if simulation.rounds(layer) else torch.float32)
        assert (f"{layer.name}/weight/scale" in table.tensors) == simulation.rounds(layer)
    assert table.floats == tuple(sorted(simulation.floats))
    assert not [name for name in table.tensors if name.removesuffix("/scale") in simulation.floats and "/scale" in name]


def test_a_table_is_a_copy_that_later_repairs_do_not_reach() -> None:
    simulation = calibrated(small(), IMAGES)
    table = table_of(simulation)
    before = {name: tensor.clone() for name, tensor in table.tensors.items()}
    restore_statistics_(simulation, IMAGES)
    simulation.watch(pictures(8, seed=7))
    assert all(torch.equal(table.tensors[name], before[name]) for name in before)


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_table(tmp_path / name, table_of(calibrated(small(), IMAGES)))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


# What cannot be read ----------------------------------------------------------------------------------------------


def refusal(action: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def tables() -> dict[bool, Table]:
    """One per channel and one per tensor, of `small`."""
    return {each: table_of(calibrated(small(), IMAGES, per_channel=each)) for each in (True, False)}


@pytest.mark.parametrize(
    "other",
    [
        {"name": "mobilenet_v1_025", "blocks": 2},
        {"name": "mobilenet_v3_small", "blocks": 2, "width": 1.0},
        {"name": "mobilenet_v3_small", "blocks": 3, "width": 0.35},
        {"name": "mobilenet_v3_small", "blocks": 1, "width": 0.35},
        {"name": "mobilenet_v3_small", "blocks": 2, "width": 0.35, "classes": 7},
    ],
    ids=["another family", "wider", "longer", "shorter", "more classes"],
)
def test_the_table_of_another_network_is_refused(tables: dict[bool, Table], other: dict[str, Any]) -> None:
    message = refusal(lambda: simulation_of(tables[True], shipped(**other)))
    assert message.startswith("the table of quantisation does not fit the network: ")


@pytest.mark.parametrize(
    ("name", "per_channel"),
    [
        ("blocks.0.conv/weight", True),
        ("blocks.0.conv/weight", False),
        ("blocks.0.conv/weight/scale", True),
        ("blocks.0.conv/weight/scale", False),
        ("blocks.0.conv/bias", True),
        ("image/sub/scale", True),
        ("head.classifier/linear/zero_point", True),
    ],
)
def test_a_missing_tensor_is_named(tables: dict[bool, Table], name: str, per_channel: bool) -> None:
    table = tables[per_channel]
    assert name in table.tensors
    rest = {key: tensor for key, tensor in table.tensors.items() if key != name}
    assert f"{name} is missing" in refusal(lambda: simulation_of(replace(table, tensors=rest), small()))


@pytest.mark.parametrize("name", ["blocks.0.conv/weight", "blocks.0.conv/weight/scale", "image/sub/scale"])
def test_a_tensor_of_another_size_is_named(tables: dict[bool, Table], name: str) -> None:
    table = tables[True]
    longer = table.tensors | {name: torch.cat([table.tensors[name]] * 2)}
    assert f"{name} is missing or has another size" in refusal(
        lambda: simulation_of(replace(table, tensors=longer), small())
    )


def test_a_tensor_too_much_is_named(tables: dict[bool, Table]) -> None:
    table = tables[True]
    more = table.tensors | {"blocks.99.conv/weight": torch.zeros(1)}
    assert "it has blocks.99.conv/weight too much" in refusal(
        lambda: simulation_of(replace(table, tensors=more), small())
    )


def test_a_damaged_file_is_named(tables: dict[bool, Table], tmp_path: Path) -> None:
    path = tmp_path / "int8.safetensors"
    save_table(path, tables[True])
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:4], b"", b"no table at all" * 50):
        path.write_bytes(damaged)
        assert refusal(lambda: load_table(path)).startswith(f"{path}: not a whole checkpoint")
    assert "no such checkpoint" in refusal(lambda: load_table(tmp_path / "absent"))


@pytest.mark.parametrize("header", [{"format": 3, "floats": []}, {}, {"format": 1, "floats": []}])
def test_a_file_of_another_format_is_refused(tables: dict[bool, Table], header: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "int8.safetensors"
    save_tensors(path, tables[True].tensors, header)
    assert "known: 2; quantize it again" in refusal(lambda: load_table(path))
