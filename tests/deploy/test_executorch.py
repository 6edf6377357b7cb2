"""ExecuTorch programs: parity, one delegate, the same bytes; clear words for what is no whole program of a bundle.

Lowering takes seconds, so one small V3, which has every operator that needed rewriting, is lowered once and shared.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lively import assert_close, lively, pictures

from mobilenets.arch.registry import create_spec
from mobilenets.arch.spec import with_blocks
from mobilenets.compress.static import quantise
from mobilenets.data.decode import decode_image
from mobilenets.data.preprocess import resize_and_crop
from mobilenets.deploy.load import TorchSession, run_torch
from mobilenets.deploy.runtimes.executorch import EXECUTORCH, ExecutorchSession, ran, stored, write
from mobilenets.deploy.runtimes.executorch_example import cpp_example, example_in_python
from mobilenets.deploy.wrap import Shipped
from mobilenets.errors import UserError
from mobilenets.nn.network import Network

SIZE = 32


@pytest.fixture(scope="module")
def network() -> Network:
    spec = create_spec("mobilenet_v3_small", width=0.35, resolution=SIZE, classes=3)
    first, last = spec.blocks[:5], spec.blocks[-1]
    return lively(with_blocks(spec, (*first, replace(last, c_in=first[-1].c_out))))


@pytest.fixture(scope="module")
def lowered(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, facts = write(Shipped(network), tmp_path_factory.mktemp("lowered"), "float32", {})
    assert facts["delegates"] == 1
    assert facts["delegated"] > 20
    assert facts["not_delegated"] == {"aten._to_copy.default": 1}
    return path


@pytest.fixture
def manifest(network: Network) -> dict[str, object]:
    labels = [{"name": name} for name in ("amber", 'blue "ish"', "cyan")]
    return {
        "spec": network.spec.to_json(),
        "labels": labels,
        "decision": {"temperature": None, "threshold": None},
    }


@pytest.mark.slow
def test_the_file_computes_what_the_network_computes(
    network: Network, lowered: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    images = pictures(3, SIZE)
    one, two = ExecutorchSession(lowered, 1), ExecutorchSession(lowered, 2)
    expected = TorchSession(network).run(images)
    for session in (one, two, one):  # the pool of threads is one for all: each takes it back
        assert_close(session.run(images), expected)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_same_network_gives_the_same_bytes(network: Network, lowered: Path, tmp_path: Path) -> None:
    handlers = logging.getLogger().handlers[:]
    path, _ = write(Shipped(network), tmp_path, "float32", {"unused": "property"})
    assert path.read_bytes() == lowered.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pte"]
    assert logging.getLogger().handlers == handlers
    for word in (str(Path(__file__).resolve().parents[2]), sys.prefix, "site-packages"):
        assert word.encode() not in path.read_bytes()


@pytest.mark.slow
def test_int8_is_one_delegate_of_small_weights(network: Network, lowered: Path, tmp_path: Path) -> None:
    quantised = quantise(Shipped(network), pictures(8, SIZE))
    path, facts = write(quantised, tmp_path, "int8", {})
    assert facts["delegates"] == 1
    images = pictures(3, SIZE)
    expected = run_torch(quantised, images)
    found = ExecutorchSession(path, 1).run(images)
    assert np.abs(found - expected).max() <= 0.15 * np.abs(expected).max()
    (floats,), held = stored(lowered).items(), stored(path)
    assert floats == ("float32", sum(held.values()))
    assert held["int8"] > 0.9 * sum(held.values())
    assert ran(path, 1)["precisions"].keys() == {"int8"}
    assert ran(lowered, 1)["precisions"].keys() == {"float32"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"no model at all", "does not begin like one"),
        (lambda data: data[: len(data) // 2], "not a whole program"),
        (lambda data: data[:-1], "not a whole program"),
        (lambda data: data[:200], "not a whole program"),
        (lambda data: data[:200] + b"\xff" * 64 + data[264:], "not a program that ExecuTorch opens"),
    ],
)
def test_a_damaged_file_is_one_line(
    damage: object, words: str, lowered: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert callable(damage)
    (tmp_path / "a.pte").write_bytes(damage(lowered.read_bytes()))
    with pytest.raises(UserError, match=rf"a\.pte: .*{words}"):
        ExecutorchSession(tmp_path / "a.pte", 1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_another_contract_is_refused(tmp_path: Path) -> None:
    from mobilenets.deploy.runtimes.executorch import _quiet

    with _quiet():
        from executorch.exir import to_edge

        program = torch.export.export(torch.nn.ReLU(), (torch.zeros(1, 3, 8, 8),))
        (tmp_path / "other.pte").write_bytes(to_edge(program).to_executorch().buffer)
    with pytest.raises(UserError, match=r"other\.pte: takes and gives .*\(6, 4\)"):
        ExecutorchSession(tmp_path / "other.pte", None)


def test_a_missing_file_or_library_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "executorch.extension.pybindings.portable_lib", None)
    with pytest.raises(UserError, match=r'is not installed; run: pip install "mobilenets\[executorch\]"'):
        EXECUTORCH.open(tmp_path / "a.pte", None)
    monkeypatch.setitem(sys.modules, "executorch.exir", None)
    with pytest.raises(UserError, match=r'is not installed; run: pip install "mobilenets\[executorch\]"'):
        EXECUTORCH.write(None, tmp_path, "float32", {})


@pytest.mark.slow
def test_the_programs_print_the_answer(
    network: Network, lowered: Path, manifest: dict[str, object], tmp_path: Path
) -> None:
    picture = cv2.resize(pictures(1, 9)[0], (90, 61), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "a.ppm"), picture)
    (tmp_path / "model.pte").write_bytes(lowered.read_bytes())
    image = resize_and_crop(decode_image((tmp_path / "a.ppm").read_bytes()), network.spec.preprocessing)
    logits = ExecutorchSession(lowered, 1).run(image[None])[0]
    scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    labels = ["amber", 'blue "ish"', "cyan"]

    python = example_in_python(manifest, "model.pte")
    assert sum(bool(line) for line in python.splitlines()) <= 40
    (tmp_path / "example_executorch.py").write_text(python, encoding="utf-8")
    (tmp_path / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    command = [sys.executable, str(tmp_path / "example_executorch.py"), str(tmp_path / "a.ppm")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    first = ended.stdout.splitlines()[0].split("\t")
    assert first[1:] == [labels[scores.argmax()], f"{scores.max():.4f}"]

    program = _compiled(cpp_example(manifest, "model.pte"), tmp_path)
    ended = subprocess.run(
        [program, str(tmp_path / "model.pte"), str(tmp_path / "a.ppm")], capture_output=True, text=True, check=True
    )
    label, score = ended.stdout.strip().split("\t")
    assert label == labels[scores.argmax()]
    assert float(score) == pytest.approx(scores.max(), abs=0.01)  # OpenCV rounds its weights, the program does not


def _compiled(source: str, folder: Path) -> str:
    """The C++ program, built with the headers and libraries that pip installs."""
    import executorch

    root = Path(next(iter(executorch.__path__)))
    (folder / "main.cpp").write_text(source, encoding="utf-8")
    headers = (root / "include", root / "include/executorch/runtime/core/portable_type/c10")
    libraries = ("executorch", "executorch_kernels_optimized", "executorch_backend_xnnpack", "executorch_threadpool")
    command = ["g++", "-std=c++17", "-O0", "-DC10_USING_CUSTOM_GENERATED_MACROS", "-DET_USE_THREADPOOL"]
    command += [str(folder / "main.cpp"), "-o", str(folder / "main"), "-Wl,--no-as-needed"]
    command += [*(f"-isystem{path}" for path in headers), f"-L{root / 'lib'}", f"-Wl,-rpath,{root / 'lib'}"]
    subprocess.run([*command, *(f"-l{name}" for name in libraries)], check=True, capture_output=True, timeout=300)
    return str(folder / "main")
