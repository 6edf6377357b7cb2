"""Which precision `--precision auto` comes to, and that a Run keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mobilenets.api import train
from mobilenets.errors import UserError
from mobilenets.training import precision
from mobilenets.training.precision import Precision, choose_precision
from mobilenets.training.run import RECIPE, read_json

CPU = torch.device("cpu")


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch):
    """A function that makes this CPU one with these abilities, and the kernels there or not."""

    def make(abilities: dict[str, bool], kernels: bool) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
        monkeypatch.setattr(precision, "available", lambda: (kernels, "as the test says"))

    return make


@pytest.mark.parametrize(
    ("abilities", "kernels", "chosen", "why"),
    [
        ({"avx512_bf16": True}, True, "bfloat16", "the CPU and its kernels have it"),
        ({"amx_bf16": True, "avx512_bf16": False}, True, "bfloat16", "the CPU and its kernels have it"),
        ({"avx512_bf16": True}, False, "float32", "slower without the kernels"),
        ({"avx512_bf16": False, "avx2": True}, True, "float32", "no bfloat16 products"),
        ({}, True, "float32", "no bfloat16 products"),
    ],
)
def test_auto_on_a_cpu(cpu, abilities: dict[str, bool], kernels: bool, chosen: str, why: str) -> None:
    cpu(abilities, kernels)
    got = choose_precision("auto", CPU)
    assert got.name == chosen
    assert got.bfloat16 == (chosen == "bfloat16")
    assert why in got.why


def test_features_alone_are_computed_in_float32(cpu) -> None:
    cpu({"avx512_bf16": True}, True)
    assert choose_precision("auto", CPU, steps=False).name == "float32"


def test_what_is_asked_for_is_done_wherever(cpu) -> None:
    cpu({}, False)
    assert choose_precision("bfloat16", CPU, steps=False) == Precision("bfloat16", "asked for")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UserError, match="unknown precision 'int8'; allowed: auto, float32, bfloat16"):
        choose_precision("int8", CPU)


def test_a_run_goes_on_in_the_precision_it_was_begun_in(
    cpu, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"model": "mobilenet_v3_small", "width": 0.35, "resolution": 32, "minutes": 60.0, "epochs": 1}
    cpu({}, False)
    train(shapes, out=tmp_path / "run", **settings)
    assert "computes in float32: the CPU has no bfloat16 products" in capsys.readouterr().err
    assert read_json(tmp_path / "run" / RECIPE)["precision"]["name"] == "float32"
    cpu({"avx512_bf16": True}, True)
    train(shapes, out=tmp_path / "run", **settings)
    assert "computes in" not in capsys.readouterr().err
    assert read_json(tmp_path / "run" / RECIPE)["precision"]["name"] == "float32"
