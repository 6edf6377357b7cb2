"""What a person reads of `cost --compare` and `cost --stages`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from shells import Ended

from mobilenets.arch.registry import ARCHITECTURES
from mobilenets.cli import output

Command = Callable[..., Ended]


def row(printed: str, name: str) -> list[str]:
    """The words after the row's name, of the first row that starts with it."""
    line = next(line for line in printed.splitlines() if line.strip().startswith(name))
    return line.strip().removeprefix(name).split()


def test_ratios_stand_beside_the_figures(command: Command) -> None:
    printed = command("cost", "mobilenet_v1", "mobilenet_v2", "--compare").out
    assert row(printed, "parameters") == ["4.23", "M", "3.50", "M", "0.83"]
    assert row(printed, "multiply-adds") == ["568.74", "M", "300.77", "M", "0.53"]
    assert row(printed, "peak memory, float32") == ["4.82", "MB", "6.02", "MB", "1.25"]
    assert row(printed, "layers") == ["28", "53", "1.89"]
    assert row(printed, "depth") == ["28", "53", "1.89"]
    assert "in attention" not in printed
    assert "in attention" in command("cost", "mobilenet_v1", "mobilenet_v4_hybrid_medium", "--compare").out


def test_stage_by_stage(command: Command) -> None:
    printed = command("cost", "mobilenet_v1", "mobilenet_v3_small", "--resolution", "32", "--stages").out
    macs, params, memory = printed.split("Multiply-adds")[1].split("\n\n")[:3]
    assert len([line for line in macs.splitlines() if line.startswith("stride")]) == 5
    assert row(macs, "head") == ["1.02", "M", "1.61", "M"]
    assert row(params, "stride 2 ") == ["3.46", "k", "464"]
    assert row(memory, "stride 2 ")[1] == "kB"
    alone = command("cost", "mobilenet_v1", "--stages").out
    assert "stride 32" in alone
    assert "blocks.3.depthwise" not in alone


@pytest.mark.parametrize("width", [80, 120, 300])
def test_many_networks_are_divided_into_tables_that_fit(
    command: Command, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(output, "_width", lambda: width)
    printed = command("cost", *ARCHITECTURES, "--compare").out
    heads = [line.split() for line in printed.splitlines() if "×" in line]
    shown = [name for head in heads for name in head if name.startswith("mobilenet")]
    assert list(dict.fromkeys(shown)) == list(ARCHITECTURES)
    assert all(head[0] == "mobilenet_v1" for head in heads)
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= width
