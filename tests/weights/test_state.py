"""Files of tensors: what is in them is read, what runs code, is cut, damaged or inflated is refused in one line."""

from __future__ import annotations

import argparse
import os
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from mobilenets.errors import UserError
from mobilenets.weights.state import matches, read_file, read_state

TENSORS = {"conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2), "bn.num_batches_tracked": torch.tensor(7)}


class Trap:
    """Pickles into a call that leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


def refusal(path: Path) -> str:
    """The one line with which a file is refused; it names the file."""
    with pytest.raises(UserError) as caught:
        read_state(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    assert len(line) < len(str(path)) + 260
    return line


@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_of_both_kinds_hold_the_same(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "weights.pth"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=not legacy)
    tensors, set_aside = read_state(path)
    assert list(tensors) == list(TENSORS)
    assert set_aside == {}
    np.testing.assert_array_equal(tensors["conv.weight"], np.arange(24.0).reshape(2, 3, 2, 2))
    assert tensors["conv.weight"].dtype == np.float32
    assert tensors["bn.num_batches_tracked"].dtype == np.int64
    assert tensors["bn.num_batches_tracked"] == 7


def test_half_precision_becomes_float32_and_is_told(tmp_path: Path) -> None:
    for name, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        torch.save({"w": torch.tensor([1.0, -2.5], dtype=dtype)}, tmp_path / "weights.pth")
        file = read_file(tmp_path / "weights.pth")
        assert file.tensors["w"].dtype == np.float32
        assert file.tensors["w"].tolist() == [1.0, -2.5]
        assert file.facts["precision"] == f"{name} in the file, float32 here"


def test_a_checkpoint_of_a_training_is_unwrapped(tmp_path: Path) -> None:
    """timm's: averaged weights beside the plain ones, settings as a Namespace, `module.` before every name."""
    averaged = {f"module.{name}": tensor + 1 for name, tensor in TENSORS.items()}
    checkpoint = {
        "epoch": 3,
        "arch": "mobilenetv2_100",
        "state_dict": TENSORS,
        "state_dict_ema": averaged,
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}},
        "args": argparse.Namespace(model="mobilenetv2_100", lr=0.1),
    }
    torch.save(checkpoint, tmp_path / "model_best.pth.tar")
    file = read_file(tmp_path / "model_best.pth.tar")
    assert list(file.tensors) == list(TENSORS)
    np.testing.assert_array_equal(file.tensors["conv.weight"], np.arange(1.0, 25.0).reshape(2, 3, 2, 2))
    assert file.architecture == "mobilenetv2_100"
    assert file.facts["taken from"] == "state_dict_ema of the checkpoint"
    assert file.facts["prefix"].startswith("'module.'")
    assert file.file_names(["conv.weight"]) == ("module.conv.weight",)
    assert file.set_aside == {
        "epoch": "epoch of the training",
        "arch": "name of the network",
        "state_dict": "the weights without averaging; state_dict_ema is taken",
        "optimizer": "optimiser state",
        "args": "settings of the training",
    }


def test_counters_of_averaging_and_profilers_are_set_aside(tmp_path: Path) -> None:
    """torchvision's `model_ema` counts its steps beside the tensors."""
    model = {"n_averaged": torch.tensor(5), **{f"module.{name}": tensor for name, tensor in TENSORS.items()}}
    torch.save({"model_ema": model, "model": TENSORS, "lr_scheduler": {}}, tmp_path / "checkpoint.pth")
    file = read_file(tmp_path / "checkpoint.pth")
    assert list(file.tensors) == list(TENSORS)
    assert file.set_aside["n_averaged"] == "number of averaged steps"
    assert file.set_aside["model"] == "the weights without averaging; model_ema is taken"


def test_a_folder_of_the_hub_is_a_source(tmp_path: Path) -> None:
    assert not matches(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert not matches(tmp_path)
    save_file({"w": np.ones(2, np.float32)}, tmp_path / "model.safetensors")
    torch.save({"other": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert matches(tmp_path)
    assert list(read_state(tmp_path)[0]) == ["w"]
    (tmp_path / "model.safetensors").unlink()
    assert matches(tmp_path)
    assert list(read_state(tmp_path)[0]) == ["other"]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path: Path, legacy: bool, nested: bool) -> None:
    path, mark = tmp_path / "weights.pth", tmp_path / "mark"
    trap = Trap(mark)
    content = {"state_dict": TENSORS, "args": argparse.Namespace(trap=trap)} if nested else {**TENSORS, "x": trap}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    line = refusal(path)
    assert f"holds a pickled {os.system.__module__}.system, whose code is never run" in line
    assert not mark.exists()
    torch.load(path, weights_only=False)  # the trap is one: torch without its guard runs it
    assert mark.exists()


def test_a_bare_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "weights.pth", tmp_path / "mark"
    path.write_bytes(pickle.dumps(Trap(mark)))
    assert "a pickle, not a file of torch.save" in refusal(path)
    assert not mark.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    assert "holds a pickled torch.nn.modules.linear.Linear" in refusal(tmp_path / "model.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "model.pt")
    assert "a TorchScript archive, which holds code" in refusal(tmp_path / "model.pt")


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_cut_file_is_refused_at_every_length(tmp_path: Path, kind: str) -> None:
    whole = tmp_path / "whole"
    if kind == "safetensors":
        save_file({"conv.weight": np.ones((4, 3, 3, 3), np.float32)}, whole)
    else:
        torch.save({"conv.weight": torch.ones(4, 3, 3, 3)}, whole, _use_new_zipfile_serialization=kind == "zip")
    data = whole.read_bytes()
    read_state(whole)
    path = tmp_path / "weights.bin"
    for length in {*range(0, len(data), 37), 1, 2, 8, 9, len(data) - 1}:
        path.write_bytes(data[:length])
        refusal(path)


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    """One bit of a weight turned over: the archive's checksum no longer fits."""
    torch.save({"w": torch.full((1000,), 0.75)}, tmp_path / "weights.pth")
    data = bytearray((tmp_path / "weights.pth").read_bytes())
    data[data.index(struct.pack("<f", 0.75) * 4) + 2] ^= 1
    (tmp_path / "weights.pth").write_bytes(data)
    assert "cut or damaged" in refusal(tmp_path / "weights.pth")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.zeros(4_000_000)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for info in plain.infolist():
            packed.writestr(info.filename, plain.read(info))
    assert path.stat().st_size < 40_000
    assert "zip bomb" in refusal(path)


def test_a_tensor_larger_than_the_file_is_refused(tmp_path: Path) -> None:
    """A stride of 0 makes a terabyte out of four bytes."""
    torch.save({"w": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "weights.pth")
    assert "claims shape (1000000, 1000000), more than the file holds" in refusal(tmp_path / "weights.pth")


def test_a_storage_larger_than_its_record_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(12)}, tmp_path / "whole.pth")
    with zipfile.ZipFile(tmp_path / "whole.pth") as whole, zipfile.ZipFile(tmp_path / "weights.pth", "w") as lying:
        for info in whole.infolist():
            data = whole.read(info)
            lying.writestr(info.filename, re.sub(rb"K\x0ct", b"J\x40\x42\x0f\x00t", data))
    assert "cut or damaged" in refusal(tmp_path / "weights.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    torch.save({"a": torch.zeros(3), "b": torch.tensor([0.0, value])}, tmp_path / "weights.pth")
    assert "b holds values that are not finite" in refusal(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([torch.zeros(2)], "holds a list; allowed is a state dict"),
        ({}, "holds a dict; allowed is a state dict"),
        ({"epoch": 3}, "holds no tensors"),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, "w is no plain array"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: Any, said: str) -> None:
    torch.save(content, tmp_path / "weights.pth")
    assert said in refusal(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "neither safetensors nor a file of torch.save"),
        (struct.pack("<Q", 2**40) + b"{}", "not a whole safetensors file"),
        (struct.pack("<Q", 9) + b'{"w": 1} ' + bytes(8), "not a whole safetensors file"),
    ],
)
def test_other_formats_are_refused(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "weights.pth").write_bytes(data)
    assert said in refusal(tmp_path / "weights.pth")


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("readme.txt", "no weights")
    assert "a zip that is no file of torch.save" in refusal(tmp_path / "weights.pth")


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.pth")
    assert "holds no weights; allowed is a folder with model.safetensors" in refusal(tmp_path)
