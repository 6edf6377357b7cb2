"""torch.export programs: parity, the same bytes, nothing pickled, and clear words for files that are none."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from lively import assert_parity, pictures, shortened

from mobilenets.arch.registry import ARCHITECTURES, create_spec
from mobilenets.deploy.export import export
from mobilenets.deploy.load import load
from mobilenets.deploy.manifest import properties
from mobilenets.deploy.predict import predict
from mobilenets.deploy.runtimes.torch import TORCH, ProgramSession, ran, write
from mobilenets.deploy.wrap import Shipped
from mobilenets.errors import UserError


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small"])
def test_the_program_computes_what_the_network_computes(name: str, tmp_path: Path) -> None:
    assert_parity(TORCH, shortened(create_spec(name, resolution=32, classes=5)), tmp_path, ["model.pt2"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_becomes_a_program(name: str, tmp_path: Path) -> None:
    spec = shortened(create_spec(name, width=0.5, resolution=64, classes=5, padding="same"))
    assert_parity(TORCH, spec, tmp_path, ["model.pt2"])


@pytest.fixture(scope="module")
def program(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Run's Bundle with a torch file."""
    folder = tmp_path_factory.mktemp("torch") / "bundle"
    export(run, folder, ["torch"])
    return folder


def test_the_same_network_gives_the_same_bytes(program: Path, run: Path, tmp_path: Path) -> None:
    loaded = load(run)
    path, _ = write(Shipped(loaded.network), tmp_path, "float32", properties(loaded.spec, loaded.labels))
    assert path.read_bytes() == (program / "torch/float32/model.pt2").read_bytes()


def test_it_tells_what_runs(program: Path) -> None:
    found = ran(program / "torch/float32/model.pt2", 1)
    assert (found["operators"]["conv2d"], found["operators"]["linear"]) == (17, 1)
    assert (found["precisions"], found["notes"]) == ({"float32": 18}, [])


def test_nothing_is_pickled_and_nothing_tells_of_the_machine(program: Path) -> None:
    path = program / "torch/float32/model.pt2"
    with zipfile.ZipFile(path) as archive:
        assert archive.read("model/extra/labels") == b'["amber", "blue", "cyan"]'
        inputs = [entry for entry in archive.infolist() if "sample_inputs" in entry.filename]
    assert sum(entry.file_size for entry in inputs) == 0
    data = path.read_bytes()
    for word in (str(Path(__file__).resolve().parents[2]), sys.prefix, "stack_trace", ".pkl"):
        assert word.encode() not in data


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    saved = torch.export.export(torch.nn.ReLU(), (torch.zeros(2, 2),))
    torch.export.save(saved, tmp_path / "inputs.pt2")
    with pytest.raises(UserError, match=r"inputs\.pt2: holds pickled objects"):
        ProgramSession(tmp_path / "inputs.pt2", None)


def test_another_contract_is_refused(tmp_path: Path) -> None:
    saved = torch.export.export(torch.nn.ReLU(), (torch.zeros(2, 2),))
    saved.example_inputs = None
    torch.export.save(saved, tmp_path / "other.pt2")
    with pytest.raises(UserError, match=r"takes and gives input float32 of 2 dimensions, logits float32 of 2"):
        ProgramSession(tmp_path / "other.pt2", None)


def test_files_that_are_no_programs_are_named(program: Path, tmp_path: Path) -> None:
    data = (program / "torch/float32/model.pt2").read_bytes()
    (tmp_path / "short.pt2").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"short\.pt2: not a program of torch\.export"):
        ProgramSession(tmp_path / "short.pt2", None)
    with zipfile.ZipFile(tmp_path / "empty.pt2", "w") as archive:
        archive.writestr("model/data/nothing", "")
    with pytest.raises(UserError, match=r"empty\.pt2: not a program that torch .* opens"):
        ProgramSession(tmp_path / "empty.pt2", None)
    with pytest.raises(UserError, match=r"none\.pt2: no such file"):
        ProgramSession(tmp_path / "none.pt2", None)


def test_threads_are_the_sessions_own(program: Path) -> None:
    before = torch.get_num_threads()
    ProgramSession(program / "torch/float32/model.pt2", 1).run(pictures(2, 32))
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_the_example_needs_torch_and_none_of_ours(program: Path) -> None:
    alone = (
        "import runpy, sys; sys.modules['mobilenets'] = None; "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    picture = str(program / "golden/0.png")
    command = [sys.executable, "-c", alone, str(program / "example_torch.py"), picture]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    (row,) = predict(program, [picture])
    best = [f"{picture}\t{answer['label']}\t{answer['score']:.4f}" for answer in row["predictions"]]
    best = [f"{picture}\tunknown\t{row['predictions'][0]['score']:.4f}"] * row["unknown"] + best
    assert ended.stdout.splitlines() == best
    assert len((program / "example_torch.py").read_text().splitlines()) < 40
