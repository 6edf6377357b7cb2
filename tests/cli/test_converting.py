"""`weights convert` on the command line: its JSON by the schema, its endings, in and back out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shells import Ended
from test_contract import fits

from mobilenets.training.run import open_run

Command = Callable[..., Ended]


@pytest.fixture
def vww(shared: Path) -> Path:
    return shared / "weights" / "tflite" / "vww_96_mobilenet_v1_0.25" / "vww_96_float.tflite"


def ask(command: Command, *args: object, status: int = 0) -> Any:
    ended = command("weights", "convert", *args, "--json")
    assert ended.status == status, ended
    document = json.loads(ended.out)
    fits(document, "weights convert")
    return document


def test_in_and_back_out_by_timm(command: Command, shared: Path, tmp_path: Path) -> None:
    keras = shared / "weights" / "keras" / "vww_96_mobilenet_v1_0.25" / "vww_96.h5"
    document = ask(command, keras, "--out", tmp_path / "run", "--normalise", "unit")
    assert document["path"] == str(tmp_path / "run")
    assert document["recognised"]["network"] == "mobilenet_v1_025"
    assert len(document["sources"]) == 1
    out = command("weights", "convert", tmp_path / "run", "--to", "timm", "--out", tmp_path / "timm.bin", "--json")
    assert out.status == 2
    assert out.err.strip().splitlines()[-1].endswith("a file for timm ends in .safetensors or .pth")


def test_a_person_reads_what_was_recognised(command: Command, vww: Path, tmp_path: Path) -> None:
    ended = command("weights", "convert", vww, "--out", tmp_path / "run", "--normalise", "unit")
    assert ended.status == 0
    assert str(tmp_path / "run") in ended.out
    for word in ("mobilenet_v1_025, generation 1", "TensorFlow's SAME", "56 used, none left over", "against LiteRT"):
        assert word in ended.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["NOWHERE.tflite", "--out", "RUN"], "no such file or folder"),
        (["VWW", "VWW", "--out", "RUN"], "vww_96_float.tflite"),
        (["VWW", "--out", "RUN", "--to", "keras", "--normalise", "unit"], "--normalise says how to read"),
        (["VWW", "--out", "RUN", "--normalise", "thirds"], "thirds"),
        (["VWW", "--out", "VWW"], "is a file; --out names a folder"),
    ],
)
def test_what_is_wrong_is_one_line(command: Command, vww: Path, tmp_path: Path, args: list[str], words: str) -> None:
    places = {"VWW": vww, "RUN": tmp_path / "run", "NOWHERE.tflite": tmp_path / "nowhere.tflite"}
    ended = command("weights", "convert", *(places.get(arg, arg) for arg in args))
    assert ended.status == 2, ended
    errors = [line for line in ended.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert words in errors[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_converted_run_goes_out_to_keras_and_comes_back_the_same(
    command: Command, shared: Path, tmp_path: Path
) -> None:
    keras = shared / "weights" / "keras" / "mobilenet_v1_0.25_224_imagenet" / "mobilenet_v1_0.25_224.h5"
    ask(command, keras, "--out", tmp_path / "run")
    out = ask(command, tmp_path / "run", "--to", "keras", "--out", tmp_path / "ours.keras")
    assert out["max_abs_error"] < 1e-3
    ask(command, tmp_path / "ours.keras", "--out", tmp_path / "again")
    first, second = (open_run(tmp_path / name).network().state_dict() for name in ("run", "again"))
    assert all(bool((first[name] == second[name]).all()) for name in first)
